"""A coordinator that is measured while it does its rounds, on an in-memory broker."""

from coordinator_lab import Lab, begin, nan, wait_for
from exposition import Exposition
from identities import signed
from prometheus_client import generate_latest

from pfedfrz_coordinator.prometheus_instruments import FederationFacts, PrometheusInstruments
from pfedfrz_protocol import (
    Evaluated,
    LocalReport,
    Rejected,
    RoundAnnouncement,
    RoundFailed,
    Topics,
)

TOPICS = Topics("lab")


def measure(lab: Lab, *, per_device: bool = False) -> PrometheusInstruments:
    """Have the lab's next coordinator measured."""
    facts = FederationFacts("lab", "0", lab.bundle.manifest.digest, "mean", 2)
    instruments = PrometheusInstruments(facts, per_device=per_device)
    lab.instruments = instruments
    return instruments


def shown(instruments: PrometheusInstruments) -> Exposition:
    """What a scrape would give now."""
    return Exposition(generate_latest(instruments.registry).decode())


def rounds_with_a_reject(
    lab: Lab, *, per_device: bool = False, evaluate: bool = True
) -> Exposition:
    """What is shown after a round of two updates, one with a reject, and perhaps one that measures.

    A stranger's message was ignored meanwhile.
    """
    instruments = measure(lab, per_device=per_device)
    life, a, b, first = begin(lab, rounds=2, evaluate=evaluate)
    assert isinstance(b.deliver(first, nan(lab, b, first)), Rejected)
    a.deliver(first, lab.payload(a, first, 1.0))
    second = a.expect(RoundAnnouncement)
    assert b.expect(RoundAnnouncement) == second
    topic = TOPICS.device("a", "event")
    a.link.publish(topic, signed(RoundFailed(1, first.epoch, "boot", "not mine"), topic, "b"))
    a.deliver(second, lab.payload(a, second, -3.0))
    b.deliver(second, lab.payload(b, second, 5.0))
    last = a.expect(RoundAnnouncement) if evaluate else None
    for device in (a, b) if last else ():
        device.tell(Evaluated(last.round, last.epoch, "boot", LocalReport(10, 0.5)))
    assert life.result() is True
    wait_for(lambda: not life.alive)
    return shown(instruments)
