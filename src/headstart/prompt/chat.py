"""Messages of a conversation as one text, by the template that came with the base.

The template is the base's own (chat_template.jinja, or chat_template in tokenizer_config.json) and writes the special
tokens itself; it is data, and rendered in a sandbox.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headstart.base.sandbox import render_template
from headstart.data.text_codec import TextCodec
from headstart.ground.errors import CapabilityError, DataError, safe_repr

Message = Mapping[str, Any]


def render(codec: TextCodec, messages: Sequence[Message]) -> str:
    """The text after which the base writes its answer. messages: {"role": ..., "content": ...} each, oldest first.

    Raises:
        CapabilityError: the base has no chat template.
        DataError: the messages are none, or the template refuses them.
    """
    if codec.chat_template is None:
        raise CapabilityError(
            "this base has no chat template; expected one in chat_template.jinja or tokenizer_config.json. "
            "Give a plain prompt, or a base that was trained to chat."
        )
    if not messages:
        raise DataError("the conversation has no messages; expected at least one. Give a message.")
    for place, message in enumerate(messages):
        good = isinstance(message, Mapping) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        if not good:
            raise DataError(
                f"message {place} is {safe_repr(repr(message), 80)}; expected role and content, both text. Give both."
            )
    names = {"pad_token": codec.special.pad, "bos_token": codec.special.bos, "eos_token": codec.special.eos}
    specials = {name: "" if unit is None else codec.tokenizer.id_to_token(unit) or "" for name, unit in names.items()}
    plain = [dict(message) for message in messages]
    text = render_template(codec.chat_template, {**specials, "messages": plain, "add_generation_prompt": True})
    if not text:
        raise DataError("the chat template made an empty text of the messages; expected some. Give a plain prompt.")
    return text


def shortened(messages: Sequence[Message], fits: Callable[[Sequence[Message]], bool]) -> list[Message]:
    """The most of a conversation that fits: without its oldest turns, and at the last without the beginning of its last
    message; what the system said is kept. Halved each time, because a turn may be one of thousands."""
    system = [message for message in messages if message["role"] == "system"]
    said = [message for message in messages if message["role"] != "system"]
    starts = [0, *(place for place, message in enumerate(said) if place and message["role"] == "user")]

    def longest(parts: Sequence[list[Message]]) -> list[Message] | None:
        place = bisect_left(parts, True, key=fits)
        return parts[place] if place < len(parts) else None

    found = longest([[*system, *said[start:]] for start in starts])
    if found is not None or not said:
        return list(messages) if found is None else found
    last, text = said[starts[-1] :], said[starts[-1]]["content"]
    cut = bisect_left(range(len(text)), True, key=lambda count: fits(_from(system, last, count)))
    return _from(system, last, min(cut, len(text) - 1))


def _from(system: Sequence[Message], last: Sequence[Message], count: int) -> list[Message]:
    first, *rest = last
    return [*system, {**first, "content": first["content"][count:]}, *rest]
