"""What is appended comes back equal, or is refused before anything is sent.

A pydantic model need not survive its own JSON: aliases are read and not written, excluded fields are lost, values that
were assigned after validation are refused by every sink. Three answers, each where it costs least:

- ``refused``: what no event of a model survives is a ConfigError when the model is registered.
- ``proof``: of plain models the values themselves show that an event comes back; asking them costs next to nothing.
- ``compare``: every other event is decoded again when it is appended, and compared.

``decoding`` holds the other half: an event is a function of its record. ``keys`` makes an event's key what its JSON
says.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ValidationError

from logsync.core.models.compare import difference, is_same
from logsync.core.models.decoding import Decode, MadeAnew, decoder
from logsync.core.models.proof import prove
from logsync.core.models.refused import refuse
from logsync.core.models.schema import complete
from logsync.errors import AppendRejected, ConfigError

__all__ = ["JsonModel", "MadeAnew", "describe"]

_FIX = "make the model read what it writes, or append a value that it can hold: docs/events.md"


class JsonModel:
    """The model of an event type, as far as JSON is concerned.

    Examined when it is registered, or, if its annotations name classes that are defined later, when it is first used.
    """

    def __init__(self, event: str, model: type[BaseModel]) -> None:
        """Raises ConfigError if no ``model`` could be the event ``event``."""
        self._event = event
        self._model = model
        self._decode: Decode | None = None
        self.to_json: Callable[[BaseModel], bytes] = _to_json
        self.fits: Callable[[BaseModel], bool] = self._first
        """True if the values of an event show that its JSON decodes into an equal one."""
        if complete(model):
            self._examine()

    @property
    def decode(self) -> Decode:
        """From JSON to an event. Raises what pydantic raises, and MadeAnew. ConfigError: see ``__init__``."""
        return self._decode or self._examine()

    def compare(self, event: BaseModel, value: bytes) -> None:
        """Raises AppendRejected if ``value``, the JSON of ``event``, decodes into anything but an equal event."""
        try:
            back = self.decode(value)
            if is_same(event, back):
                return
            found = difference(event, back)
        except ValidationError as error:
            found = describe(error)
        except ConfigError as error:
            raise AppendRejected(error.message, fix=error.fix) from error
        except Exception as error:  # noqa: BLE001 - validators are user code
            found = f"{type(error).__name__}: {error}"
        raise AppendRejected(f"{self._event} would not come back equal from the log: {found}", fix=_FIX)

    def _first(self, event: BaseModel) -> bool:
        try:
            self._examine()
        except ConfigError:
            return False  # ``compare`` says it
        return self.fits(event)

    def _examine(self) -> Decode:
        if not complete(self._model):
            raise ConfigError(
                f"event {self._event}: {self._model.__name__} names a class that is not defined",
                fix=f"define it, then call {self._model.__name__}.model_rebuild()",
            )
        refuse(self._event, self._model)
        self.fits = prove(self._model) or _unproven
        self.to_json = self._model.__pydantic_serializer__.to_json
        self._decode = decoder(self._model)
        return self._decode


def describe(error: ValidationError) -> str:
    """The first thing that is wrong, without the value: messages go to logs, and a customer's data does not."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the value"
    more = error.error_count() - 1
    return f"{where}: {first['msg']}" + (f" (and {more} more)" if more else "")


def _to_json(event: BaseModel) -> bytes:
    return event.__pydantic_serializer__.to_json(event)


def _unproven(_: BaseModel) -> bool:
    return False
