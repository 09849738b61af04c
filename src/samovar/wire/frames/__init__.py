"""The frames: everything that an engine and its peers, replicas and clients, say to each other.

A batch of frames is one length-prefixed msgpack array (``session``). ``epoch`` names one execution, is given
once, also by engines that follow one another, and fences: an answer for an epoch that is no longer current is ignored.
``call`` is a number of the submitting replica's own. ``body`` and ``blobs`` are a payload, opaque to the engine.
"""

from __future__ import annotations

from samovar.wire.frames.client import (
    Abort,
    Aborting,
    AbortRun,
    Actions,
    Ask,
    AskActions,
    Attach,
    Attached,
    Control,
    Controlled,
    Ended,
    Ending,
    Find,
    Found,
    Join,
    Joined,
    Kept,
    Line,
    Note,
    Offer,
    Parcel,
    Piece,
    Prepare,
    Running,
    Shutdown,
    SlowDown,
    Standing,
    Start,
    Verb,
)
from samovar.wire.frames.replica import (
    ENGINE_STREAM,
    SHARED_STREAM,
    VERSION,
    Answer,
    Beat,
    Blocked,
    Cancel,
    Committed,
    Declare,
    Done,
    Failed,
    Hello,
    Holds,
    Log,
    Origin,
    Part,
    Past,
    Ready,
    Refuse,
    Run,
    Scrap,
    Submit,
    Told,
    Traced,
    Unfit,
    Welcome,
    Withdraw,
    other_version,
)

__all__ = [
    "ENGINE_STREAM",
    "SHARED_STREAM",
    "VERSION",
    "Abort",
    "AbortRun",
    "Aborting",
    "Actions",
    "Answer",
    "Ask",
    "AskActions",
    "Attach",
    "Attached",
    "Beat",
    "Blocked",
    "Cancel",
    "Committed",
    "Control",
    "Controlled",
    "Declare",
    "Done",
    "Ended",
    "Ending",
    "Failed",
    "Find",
    "Found",
    "FromClient",
    "FromEngine",
    "FromReplica",
    "Hello",
    "Holds",
    "Join",
    "Joined",
    "Kept",
    "Line",
    "Log",
    "Note",
    "Offer",
    "Origin",
    "Parcel",
    "Part",
    "Past",
    "Piece",
    "Prepare",
    "Ready",
    "Refuse",
    "Run",
    "Running",
    "Scrap",
    "Shutdown",
    "SlowDown",
    "Standing",
    "Start",
    "Submit",
    "ToClient",
    "Told",
    "Traced",
    "Unfit",
    "Verb",
    "Welcome",
    "Withdraw",
    "other_version",
]

FromReplica = (
    Hello | Holds | Told | Ready | Unfit | Declare | Submit | Withdraw | Done | Failed | Traced | Log | Beat | Blocked
)
FromEngine = Welcome | Refuse | Run | Cancel | Answer | SlowDown | Committed
FromClient = (
    Join
    | Start
    | Prepare
    | Attach
    | Abort
    | AbortRun
    | Ask
    | AskActions
    | Find
    | Control
    | Shutdown
    | Offer
    | Parcel
    | Part
    | Scrap
)
ToClient = (
    Joined
    | Refuse
    | SlowDown
    | Running
    | Ended
    | Attached
    | Ending
    | Aborting
    | Line
    | Note
    | Standing
    | Actions
    | Found
    | Controlled
    | Kept
    | Part
    | Scrap
)
