"""What a service knows, under Flyte's name: ``flyte.remote.Run.get(name)``."""

from samovar.sdk.run import Run

__all__ = ["Run"]
