"""What a simulated engine does first where another was killed: it goes on with what is written, and with survivors.

The order is that of the real one (``engine/adoption``): survivors bring what they run; runs go on; calls without an
answer are asked again; what nobody has asked for then is sorted out.
"""

from __future__ import annotations

from samovar.core.messages import Adopt, Held
from samovar.sim.engine import Engine, Work
from samovar.sim.journal import Journal
from samovar.sim.replica import Execution, Replica


def take_stock(engine: Engine, journal: Journal, survivors: list[Replica], claim_seconds: float, now: float) -> None:
    engine.forget_wards_at = now + claim_seconds
    for replica in survivors:
        _find(engine, journal, replica)
    unwanted = [work for replica in survivors for work in _adopt(engine, journal, replica)]
    for work in unwanted:
        engine.forsake(work)
    for call in journal.unfinished():
        engine.begin(call)
    for replica in survivors:
        for execution in list(replica.executions.values()):
            for call in list(execution.waits.values()):
                engine.called(replica, execution, call)
    _sort_out(engine, journal, {x.call.key for replica in survivors for x in replica.executions.values()})


def _find(engine: Engine, journal: Journal, replica: Replica) -> None:
    """What has ended on it. A failure is forgotten: whoever asks has it tried again."""
    for epoch, kept in list(replica.estate.items()):
        if kept.failure is None and kept.record not in journal.outcomes:
            engine.found[kept.record] = replica, epoch
        else:
            journal.told(replica, epoch)


def _adopt(engine: Engine, journal: Journal, replica: Replica) -> list[Work]:
    """Gives what nobody will ask for: of runs that are over or not known, what ends, and the older of two attempts."""
    held: list[Held] = []
    unwanted: list[Work] = []
    for execution in replica.executions.values():
        work = engine.enter(execution.call, execution.record, None)
        work.replica, work.epoch = replica, execution.epoch
        engine.running[execution.epoch] = work
        held.append(Held(work.number, execution.epoch, execution.attempt, bool(execution.waits)))
        other = engine.wards.get(work.record)
        if not _is_wanted(engine, journal, execution) or (other is not None and other.epoch > work.epoch):
            unwanted.append(work)
        else:
            engine.wards[work.record] = work
            unwanted += [other] if other is not None else []
    engine.open(replica.pool)
    engine.crew[replica.name] = replica
    engine.handle(Adopt(replica.pool, replica.name, replica.is_ready, tuple(held)))
    return unwanted


def _is_wanted(engine: Engine, journal: Journal, execution: Execution) -> bool:
    if execution.is_cancelled:
        return False
    root = execution.call.key.partition("/")[0]
    is_open = root in journal.started and root not in journal.outcomes
    return is_open and execution.record not in journal.outcomes and execution.record not in engine.found


def _sort_out(engine: Engine, journal: Journal, known: set[str]) -> None:
    """A caller that lives has its answer and does not ask again; one that was lost will."""
    for record, (replica, epoch) in list(engine.found.items()):
        journal.record(record, True)
        journal.told(replica, epoch)
    engine.found.clear()
    for ward in list(engine.wards.values()):
        if ward.call.key.rpartition("/")[0] in known:
            engine.forsake(ward)
