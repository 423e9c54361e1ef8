"""Chat templates: the text transformers makes of the same messages, and nothing for a template that means harm."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Sequence

import pytest

from headstart.base.base import Base
from headstart.base.sampling import Sampling
from headstart.base.sandbox import render_template
from headstart.data.text_codec import TextCodec
from headstart.ground.errors import DataError
from headstart.prompt.chat import Message, render
from headstart.prompt.engine import Engine, Request

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers.utils.chat_template_utils import render_jinja_template

TALK: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " What is <b>2 + 2</b>? "},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 漢字?\n"},
]
CHATML = (  # SmolLM2's
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" ~ system_message ~ "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim }}
        {{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
ODD = """{%- macro shown(m, n=2) -%}{{ (m.content ~ '!') * n | int }}{%- endmacro -%}
{%- set ns = namespace(count=0, last=none) -%}
{%- for m in messages if m.role != 'system' -%}
{%- if m.role == 'tool' %}{% continue %}{% endif -%}
{%- set ns.count = ns.count + 1 -%}
{{ ns.count }} of {{ loop.length }}: {{ shown(m) | replace('2', 'two') | upper }} {{ m | tojson }}
{% set ns.last = m.content.split(' ')[-1].strip() -%}
{%- endfor -%}
{% set block %}<{{ ns.last }}>{% endset %}{{ block }} {{ messages | map(attribute='role') | join(',') }}
{{- range(3) | list }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{%- if tools is defined and tools %}tools{% endif %}{{ (messages | last).content.startswith('And') }}{{ 7 % 4 }}
"""


def with_template(codec: TextCodec, template: str | None) -> TextCodec:
    return dataclasses.replace(codec, chat_template=template)


@pytest.mark.parametrize("template", [CHATML, LLAMA3, ODD], ids=["chatml", "llama3", "odd"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_text_is_transformers(tiny_base: Base, template: str, first: int) -> None:
    special = tiny_base.codec.special
    names = {"bos_token": special.bos, "eos_token": special.eos, "pad_token": special.pad}
    tokens = {name: "" if unit is None else tiny_base.codec.tokenizer.id_to_token(unit) for name, unit in names.items()}
    theirs, _ = render_jinja_template(
        conversations=[TALK[first:]], chat_template=template, add_generation_prompt=True, **tokens
    )
    assert render(with_template(tiny_base.codec, template), TALK[first:]) == theirs[0]


def test_a_chat_is_answered_after_the_templates_text(tiny_base: Base) -> None:
    base = dataclasses.replace(tiny_base, codec=with_template(tiny_base.codec, CHATML))
    text = render(base.codec, TALK[3:])
    answer = Engine(base).answers([Request(TALK[3:], Sampling(max_tokens=3))])[0]
    assert answer.prompt_units == len(base.codec.encode_plain([text])[0])  # no second opening


HARM = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ raise_exception.__globals__ }}",
    "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(1000) %}{{ range(99999) | list | length }}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{{ 'x' * 10**9 }}",
    "{{ 10**9 * 'x' }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000d}'.format(1) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x' | center(10**9) }}",
    "{{ 'x' | indent(10**9) }}",
    "{{ messages | tojson(indent=10**9) }}",
    "{{ ('x' * 10**6).replace('x', 'y' * 10**6) }}",
    "{{ ('x' * 10**6) | replace('x', 'y' * 10**6) }}",
    "{{ ('x' * 10**6).join('y' * 10**6) }}",
    "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}{% set n = namespace(x='ab') %}"
    "{% for i in range(60) %}{% set n.x = f(n.x) %}{% endfor %}",
    "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{% if %}",
    "{{ messages[99].content.x }}",
    "{{ 1 // 0 }}",
    "{{ raise_exception('System role not supported') }}",
    "x" * 70_000,
]


@pytest.mark.parametrize("template", HARM, ids=range(len(HARM)))
def test_harm_is_refused_soon(tiny_base: Base, template: str) -> None:
    started = time.process_time()
    with pytest.raises(DataError, match="the chat template"):
        render(with_template(tiny_base.codec, template), TALK)
    assert time.process_time() - started < 3


def test_what_a_template_says_is_passed_on(tiny_base: Base) -> None:
    with pytest.raises(DataError, match="System role not supported"):
        render(with_template(tiny_base.codec, "{{ raise_exception('System role not supported') }}"), TALK)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "the conversation has no messages"),
        ([{"role": "user"}], "message 0 is .*; expected role and content"),
        ([*TALK, "hello"], "message 4 is .*hello"),
        ([{"role": "user", "content": 3}], "expected role and content, both text"),
    ],
)
def test_messages_that_are_none(tiny_base: Base, messages: list[Message], message: str) -> None:
    with pytest.raises(DataError, match=message):
        render(with_template(tiny_base.codec, CHATML), messages)


def test_a_long_conversation_is_no_harm() -> None:
    talk = [{"role": "user", "content": "word " * 50}] * 2_000
    assert render_template(CHATML, {"messages": talk, "add_generation_prompt": True}).count("<|im_start|>") == 2_002


def test_a_conversation_that_is_too_long_loses_its_oldest_messages(tiny_base: Base) -> None:
    codec = dataclasses.replace(tiny_base.text_codec, chat_template=CHATML)
    engine = Engine(dataclasses.replace(tiny_base, codec=codec))
    sampling = Sampling(max_tokens=8)

    def talk(turns: int) -> list[Message]:
        said: list[Message] = [{"role": "system", "content": "s"}]
        for turn in range(turns):
            said += [{"role": "user", "content": f"u{turn}"}, {"role": "assistant", "content": f"a{turn}"}]
        return [*said, {"role": "user", "content": "last"}]

    most = next(n for n in range(1, 99) if len(codec.encode_plain([render(codec, talk(n))])[0]) > 120)
    long = talk(most)
    kept = next(
        [long[0], *long[1 + 2 * n :]]
        for n in range(99)
        if len(codec.encode_plain([render(codec, [long[0], *long[1 + 2 * n :]])])[0]) <= 120
    )
    cut, plain = engine.answers([Request(long, sampling, truncate=True), Request(kept, sampling)])
    assert (cut.text, cut.prompt_units) == (plain.text, plain.prompt_units)
    assert cut.cut == len(codec.encode_plain([render(codec, long)])[0]) - plain.prompt_units > 0
    system = {"role": "system", "content": "money " * 200}
    for rest in ([{"role": "user", "content": "a"}], []):
        with pytest.raises(DataError, match=r"never cut .* expected at most 127, .* Shorten what the system says"):
            engine.add(Request([system, *rest], sampling, truncate=True))


def test_a_message_that_is_too_long_by_itself_loses_its_beginning(tiny_base: Base) -> None:
    codec = dataclasses.replace(tiny_base.text_codec, chat_template=CHATML)
    engine = Engine(dataclasses.replace(tiny_base, codec=codec))
    talk: list[Message] = [{"role": "user", "content": "old"}, {"role": "user", "content": "money " * 200 + "last"}]
    answer = engine.answers([Request(talk, Sampling(max_tokens=8), truncate=True)])[0]
    assert 110 < answer.prompt_units <= 120
    kept = [{"role": "user", "content": talk[1]["content"][-count:]} for count in range(1, 1204)]
    assert answer.prompt in [tuple(codec.encode_plain([render(codec, [one])])[0].tolist()) for one in kept]
    assert answer.cut == len(codec.encode_plain([render(codec, talk)])[0]) - answer.prompt_units


def test_a_long_conversation_is_rendered_a_few_times_only(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = dataclasses.replace(tiny_base.text_codec, chat_template=CHATML)
    engine, rendered = Engine(dataclasses.replace(tiny_base, codec=codec)), []

    def counted(codec: TextCodec, messages: Sequence[Message]) -> str:
        rendered.append(len(messages))
        return render(codec, messages)

    monkeypatch.setattr("headstart.prompt.engine.render", counted)
    talk: list[Message] = [{"role": role, "content": "a"} for _ in range(500) for role in ("user", "assistant")]
    engine.add(Request([*talk, {"role": "user", "content": "last"}], Sampling(max_tokens=8), truncate=True))
    assert len(rendered) <= 14
