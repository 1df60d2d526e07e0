"""The bundles that a device has had, each with its stores, and which of them it runs.

    state_dir/                      the stores of the first bundle, keys, bundle.json
    state_dir/bundles/DIGEST/       model.pfz and the stores of another bundle
    state_dir/bundles/offered.pfz   one that is being examined
    state_dir/bundles/download/     the chunks of one that is on its way

Writing `bundle.json` is the switch. Everything that the new bundle needs is on the disk before it,
and nothing of the old one is touched: a kill at any instant leaves one of the two whole.

A bundle that was just installed is on trial until it has done its first work. What may end the
process (loading the runtime, work) is counted before it begins and taken off after it ended well,
so that a process which dies in it goes back by itself in the end, while power cuts at other times
do not count.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

import msgspec

from pfedfrz_protocol import (
    Bundle,
    BundleOffer,
    ConfigurationError,
    OperationError,
    Parameters,
    ProtocolError,
    Reassembly,
    SharedCodec,
    open_tensors,
)
from pfedfrz_protocol.messages import MAX_TEXT
from pfedfrz_protocol.one_line import one_line
from pfedfrz_storage import make_directory, put_in_place, read_bundle_file, remove_leftovers

from .bundle_exchange import Standing
from .bundle_places import ARCHIVE, BundlePlaces
from .bundle_record import BundleRecord, Refusal, load_record, save_record
from .carry_over import CarriedOver, carry_over
from .download_store import DownloadStore
from .error_feedback import ErrorFeedback
from .model_store import ModelStore
from .personal_store import PersonalStore, StoredPersonal

__all__ = ["MOST_ATTEMPTS", "BundleHomes"]

log = logging.getLogger(__name__)
MOST_ATTEMPTS = 3


class BundleHomes:
    """The record of one device, and the folders that it names."""

    def __init__(self, state_dir: Path, configured: Bundle) -> None:
        """Read what there is; OperationError when it cannot be read."""
        self._state_dir = state_dir
        self._configured = configured
        self._record = load_record(state_dir)
        self._refused_now: dict[str, Refusal] = {}
        """By this process; the next one looks again."""
        remove_leftovers(self.folder)

    @staticmethod
    def are_kept(state_dir: Path) -> bool:
        """Whether this device has ever seen an offer."""
        return load_record(state_dir) is not None

    # Where things are

    @property
    def _places(self) -> BundlePlaces:
        root = self._record.root if self._record else self._configured.manifest.digest
        return BundlePlaces(self._state_dir, root)

    @property
    def folder(self) -> Path:
        """Where downloads and other bundles are."""
        return self._places.folder

    @property
    def offered(self) -> Path:
        """Where an archive waits while it is examined."""
        return self.folder / "offered.pfz"

    @property
    def active(self) -> str:
        """Digest of the bundle to run."""
        return self._record.active if self._record else self._configured.manifest.digest

    @property
    def _proved(self) -> str:
        """Digest of the bundle that has last done its work."""
        return (self._record.previous if self._record else "") or self.active

    @property
    def home(self) -> Path:
        """Where the stores of the active bundle are."""
        return self._places.home(self.active)

    def read(self) -> Bundle:
        """The active bundle; ConfigurationError when its file is gone or damaged."""
        return self._read(self.active)

    def _read(self, digest: str) -> Bundle:
        if digest == self._configured.manifest.digest:
            return self._configured
        return self._places.read(digest)

    # What is known of offers

    @property
    def standing(self) -> Standing:
        """What decisions about offers begin with."""
        record = self._record
        if record is None:
            return Standing(self.active)
        return Standing(record.active, record.serial, record.followed, record.installed)

    @property
    def refusals(self) -> dict[str, Refusal]:
        """Bundles that are not looked at again in this process."""
        kept = self._record.refused if self._record else {}
        return {**{d: r for d, r in kept.items() if r.lasting}, **self._refused_now}

    def remember_offer(self, serial: int, *, is_followed: bool) -> None:
        """Keep that an offer was seen. OperationError when the disk refuses."""
        record = self._ours()
        followed = max(record.followed, serial) if is_followed else record.followed
        self._save(
            msgspec.structs.replace(record, serial=max(record.serial, serial), followed=followed)
        )

    def refuse(self, offer: BundleOffer, detail: str) -> None:
        """Keep that a bundle does not work here. A disk that is full is said."""
        refusal = Refusal(offer.serial, detail)
        self._refused_now[offer.bundle] = refusal
        with contextlib.suppress(OSError):
            self.offered.unlink(missing_ok=True)
        try:
            self._save(self._ours().refusing(offer.bundle, refusal))
        except OperationError as error:
            log.error("%s", error)

    def _ours(self) -> BundleRecord:
        digest = self._configured.manifest.digest
        return self._record or BundleRecord(digest, digest, digest)

    def _save(self, record: BundleRecord) -> None:
        save_record(self._state_dir, record)
        self._record = record

    # Going over

    def follow_the_person(self) -> None:
        """Run what the configuration names, if that was changed since it was last looked at.

        The device's own weights are carried over. OperationError when the disk refuses.
        """
        record, digest = self._record, self._configured.manifest.digest
        if record is None or record.configured == digest:
            return
        chosen = msgspec.structs.replace(record, configured=digest, followed=record.serial)
        if record.active != digest:
            carried = self._bring_over(self._configured)
            log.info("the configuration names another bundle now, %s", carried.line)
            chosen = msgspec.structs.replace(
                chosen, active=digest, previous="", attempts=0, installed=None
            )
        self._save(chosen)

    def install(self, offer: BundleOffer) -> None:
        """Go over to the offered bundle, which was found to work and is on trial from now on.

        The way back stays the bundle that has last done its work: one that is on trial is left
        for good, and the proved one, if that is what is offered, is not on trial again.
        OperationError or ConfigurationError when that is not possible; then nothing has changed.
        """
        bundle = read_bundle_file(self.offered)
        if bundle.manifest.digest != offer.bundle:
            raise ConfigurationError(f"{self.offered} is not the bundle that was offered")
        carried = self._bring_over(bundle)
        record, archive = self._ours(), self._places.archive(offer.bundle)
        previous = "" if offer.bundle == self._proved else self._proved
        make_directory(archive.parent, mode=0o700)
        put_in_place({self.offered: archive})
        refused = {d: r for d, r in record.refused.items() if d != offer.bundle}
        self._save(
            msgspec.structs.replace(
                record,
                active=offer.bundle,
                previous=previous,
                attempts=0,
                serial=max(record.serial, offer.serial),
                followed=max(record.followed, offer.serial),
                installed=carried.line,
                refused=refused,
            )
        )
        shutil.rmtree(self.folder / "download", ignore_errors=True)
        if not previous:
            self._clear({offer.bundle})
        log.info("going over to the bundle %s...: %s", offer.bundle[:12], carried.line)

    def _bring_over(self, bundle: Bundle) -> CarriedOver:
        """Put the device's own weights into the new bundle's store; both stores hold them then.

        They are those of the proved bundle: one on trial has trained none that are worth keeping,
        and may have no place for some.
        """
        digest, proved = bundle.manifest.digest, self._proved
        store = PersonalStore(self._places.home(digest), digest)
        carried = carry_over(
            bundle,
            _personal(PersonalStore(self._places.home(proved), proved)),
            self._last_received(proved),
            _personal(store),
        )
        if digest != proved and (carried.carried or carried.received):
            store.save(StoredPersonal(carried.weights, 0, 0))
        return carried

    def _last_received(self, digest: str) -> Parameters:
        """The shared weights as they last came whole; nothing when they are not on the disk."""
        try:
            codec = SharedCodec.for_manifest(self._read(digest).manifest)
            stored = DownloadStore(self._places.home(digest)).load(codec.max_sealed_bytes)
            if stored is None:
                return {}
            reassembly = Reassembly(stored.transfer, codec.max_sealed_bytes)
            for number, chunk in sorted(stored.chunks.items()):
                reassembly.take(number, chunk)
            if reassembly.missing:
                return {}
            return codec.decode(open_tensors(reassembly.assemble()).payload)[1]
        except (ProtocolError, ConfigurationError):
            # A configuration that names another file takes the bundle of before away.
            return {}

    # The trial

    def begin(self) -> None:
        """A life is about to begin: go back first if the trial has failed too often."""
        record = self._record
        if record is not None and record.on_trial and record.attempts >= MOST_ATTEMPTS:
            self.go_back(f"the process died with it {record.attempts} times")
        self.risk()

    def risk(self) -> None:
        """Something begins that a bad bundle may end the process with."""
        self._count(+1)

    def survive(self) -> None:
        """It ended well, or was called off."""
        self._count(-1)

    def _count(self, step: int) -> None:
        record = self._record
        if record is None or not record.on_trial:
            return
        counted = msgspec.structs.replace(record, attempts=max(0, record.attempts + step))
        try:
            self._save(counted)
        except OperationError as error:
            log.error("%s", error)  # no reason to stop: at worst a death is not counted
            self._record = counted

    def pass_trial(self) -> None:
        """The first work is done: there is no way back by itself any more."""
        record = self._record
        if record is None or not record.on_trial:
            return
        log.info("the bundle %s... has done its first work", record.active[:12])
        self._clear({record.active, record.previous})
        self._save(msgspec.structs.replace(record, previous="", attempts=0))

    @property
    def has_failed(self) -> bool:
        """Whether the trial has failed so often that the device must go back."""
        record = self._record
        return record is not None and record.on_trial and record.attempts >= MOST_ATTEMPTS

    def go_back(self, detail: str) -> bool:
        """Run the bundle of before again, and refuse the one on trial for good; False without one.

        Its stores stay. OperationError when the disk refuses.
        """
        record = self._record
        if record is None or not record.on_trial:
            return False
        detail = one_line(detail, MAX_TEXT)  # a runtime may say anything of a bad bundle
        refusal = Refusal(record.followed, f"tried, and gone back: {detail}", lasting=True)
        self._save(
            msgspec.structs.replace(
                record.refusing(record.active, refusal),
                active=record.previous,
                previous="",
                attempts=0,
                installed=None,
            )
        )
        log.error("going back from the bundle %s...: %s", record.active[:12], detail)
        return True

    def _clear(self, needed: set[str]) -> None:
        """Remove what can be had again; personal weights and an update that waits stay."""
        kept = {self._places.home(digest) for digest in needed}
        for folder in {self._state_dir, *self.folder.glob("*")} - kept:
            shutil.rmtree(folder / "download", ignore_errors=True)
            ModelStore(folder, "").forget()
            ErrorFeedback(folder, "", ()).forget()
            if folder != self._state_dir:  # where a person may have put anything
                with contextlib.suppress(OSError):
                    (folder / ARCHIVE).unlink(missing_ok=True)


def _personal(store: PersonalStore) -> Parameters:
    stored = store.load()
    return stored.weights if stored else {}
