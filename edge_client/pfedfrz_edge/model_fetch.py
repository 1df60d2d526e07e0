"""The model that a round is done with, held already or fetched: decisions only.

The session says which model it wants and hands over the chunks that come; the actions that get the
rest go back to it. What is held has been verified: its signer, its digest, its layout.
"""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import (
    ModelReference,
    Parameters,
    ProtocolError,
    RejectReason,
    SharedCodec,
    open_tensors,
    tensors_digest,
)

from .download_store import StoredDownload
from .model_download import ModelDownload
from .session_exchange import Action, Complain, FetchModel, KeepChunk, StopFetching

__all__ = ["ModelFetch"]


@dataclass(frozen=True)
class _HeldModel:
    digest: str
    tensors: Parameters


class ModelFetch:
    """The newest model that came whole, and the download of the next."""

    def __init__(self, codec: SharedCodec, stored: StoredDownload | None = None) -> None:
        """`stored` is what has been kept of a model by an earlier life."""
        self._codec = codec
        self._stored = stored
        self._held: _HeldModel | None = None
        self._model: ModelReference | None = None
        """The one that is being fetched, or was before."""
        self._download: ModelDownload | None = None
        self._downloaded_bytes = 0

    @property
    def downloaded_bytes(self) -> int:
        """The size of the chunks that came since `count_anew`."""
        return self._downloaded_bytes

    def count_anew(self) -> None:
        """Another round begins: what was downloaded for those before is not its traffic."""
        self._downloaded_bytes = 0

    def held(self, digest: str) -> Parameters | None:
        """The shared weights of that digest; None when another model, or none, is held."""
        return self._held.tensors if self._held and self._held.digest == digest else None

    def begin(self, model: ModelReference, signer: str) -> list[Action]:
        """Fetch `model`, signed by `signer`, or what is missing of it; it may be held after this.

        ProtocolError when it announces more than a model of this bundle can have.
        """
        stored, self._stored = self._stored, None
        if self._download is not None and self._download.transfer == model.transfer:
            self._model = model
            self._download.ask_again()
            return [FetchModel(model.version, self._download.ask())]
        self._download = ModelDownload(model.transfer, self._codec.max_sealed_bytes)
        self._model = model
        if stored is not None and stored.transfer == model.transfer:
            payload = self._download.resume(stored.chunks)
            if payload is not None:
                return self._open(model, payload, signer)
        return [FetchModel(model.version, self._download.ask())]

    def take(self, version: int, number: int, data: bytes, signer: str) -> list[Action]:
        """A chunk has come; with the last one the model is held after this, if it is right."""
        model, download = self._model, self._download
        if (
            model is None
            or download is None
            or version != model.version
            or number not in download.asked
        ):
            return []
        self._downloaded_bytes += len(data)
        try:
            payload = download.take(number, data)
        except ProtocolError as error:
            complaint = Complain(f"model {version}, chunk {number}: {error}")
            let_go = download.start_over(error)
            if let_go is None:
                return [complaint]
            return [
                complaint, StopFetching(version, let_go), FetchModel(version, download.ask()),
            ]  # fmt: skip
        keep = KeepChunk(download.transfer, number, data)
        if payload is not None:
            return [keep, *self.stop(number), *self._open(model, payload, signer)]
        actions: list[Action] = [keep]
        if number not in download.asked:
            actions.append(StopFetching(version, (number,)))
        more = download.ask()
        return [*actions, FetchModel(version, more)] if more else actions

    def stop(self, *also: int) -> list[Action]:
        """Let go of every chunk that is asked for, and of `also`."""
        if self._model is None or self._download is None:
            return []
        chunks = tuple(sorted({*self._download.asked, *also}))
        return [StopFetching(self._model.version, chunks)] if chunks else []

    def _open(self, model: ModelReference, payload: bytes, signer: str) -> list[Action]:
        try:
            _, tensors = self._codec.decode(open_tensors(payload).require_signer(signer))
            if tensors_digest(tensors) != model.digest:
                raise ProtocolError(RejectReason.WRONG_DIGEST, "not the announced model")
        except ProtocolError as error:
            return [Complain(f"model {model.version}: {error}")]
        self._download = None
        self._held = _HeldModel(model.digest, tensors)
        return []
