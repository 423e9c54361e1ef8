"""Templates that mean harm are refused within two seconds and 200 MB, whatever way they take."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from headstart.base.sandbox import Template, render_template
from headstart.ground.errors import DataError

# Renders each template in a process of its own, with a hard limit, so that no failure hangs or swaps.
CHILD = """
import json, os, resource, sys, time
from headstart.base.sandbox import render_template
from headstart.ground.errors import DataError

def answer(source):
    resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    started = time.process_time()
    try:
        said = "rendered " + render_template(source, {"messages": []})[:50]
    except DataError as problem:
        said = str(problem)
    except BaseException as problem:
        said = "broke with " + repr(problem)[:200]
    return said, time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for source in json.load(sys.stdin):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(answer(source)).encode())
        os._exit(0)
    os.close(writer)
    found = os.read(reader, 1 << 16).decode()
    os.close(reader)
    os.waitpid(child, 0)
    print(found or json.dumps(("was killed", 4, 0)), flush=True)
"""


def turns(body: str, count: int = 50_000) -> str:
    return f"{{% for i in range({count}) %}}{body}{{% endfor %}}"


def kept(**step: str) -> str:
    """Namespaces that grow at every turn; then turns until nothing is left."""
    ((count, what),) = step.items()
    return (
        "{% set ns = namespace(a=1) %}" + turns(f"{{% set ns.a = [ns.a, {what}] %}}", int(count[1:])) + turns(turns(""))
    )


def doubled(use: str, start: str = "[1.5]", step: str = "[{0}, {0}]", count: int = 40) -> str:
    """Two values that hold themselves 2^count times, and what is done with them."""
    sets = "".join(f"{{% set ns.{name} = {step.format(f'ns.{name}')} %}}" for name in "ab")
    return f"{{% set ns = namespace(a={start}, b={start}) %}}" + turns(sets, count) + use


def nested(use: str, step: str = "(ns.a,)") -> str:
    return "{% set ns = namespace(a=(1,)) %}" + turns(f"{{% set ns.a = {step} %}}", 90_000) + use


LONG = "{% set s = 'ab' * 1000000 %}"
WORDS = "{% set s = '漢 ' * 1000000 %}"
WIDE = "{% set s = 'a😀' * 1000000 %}"
PART = "{% set s = '\U000e0001' * 1000000 %}"
LIST = "{% set l = [1] * 400000 %}"
NEEDLE = "'a' * 900000 ~ 'b' ~ 'a' * 90000"
HOSTILE = {
    # comparisons
    "==": doubled("{% if ns.a == ns.b %}x{% endif %}"),
    "<": doubled("{{ ns.a < ns.b }}"),
    "chain": doubled("{{ 1 < 2 != ns.a == ns.b }}"),
    "in a list": doubled("{{ ns.a in [ns.b] }}"),
    "not in a list": doubled("{{ ns.a not in [ns.b] }}"),
    "is eq": doubled("{{ ns.a is eq ns.b }}"),
    "is in": doubled("{{ ns.a is in [ns.b] }}"),
    "dictionaries": doubled("{{ ns.a == ns.b }}", "{}", "{{1: {0}, 2: {0}}}"),
    "views": doubled("{{ {1: ns.a}.items() == {1: ns.b}.items() }}"),
    "index": doubled("{{ [ns.b].index(ns.a) }}"),
    "count of a list": doubled("{{ [ns.b].count(ns.a) }}"),
    "changed": doubled("{% for x in [ns.a, ns.b] %}{{ loop.changed(x) }}{% endfor %}"),
    "sort": doubled("{{ [ns.a, ns.b]|sort|length }}"),
    "max": doubled("{{ [{'x': ns.a}, {'x': ns.b}]|max(attribute='x')|length }}"),
    "max of a generator": doubled("{{ [{'x': ns.a}, {'x': ns.b}]|map(attribute='x')|max|length }}"),
    "dictsort": doubled("{{ {1: ns.a, 2: ns.b}|dictsort(by='value')|length }}"),
    "selectattr": doubled("{{ [{'x': ns.a}]|selectattr('x', 'equalto', ns.b)|list|length }}"),
    "long texts": LONG + "{% set t = 'ab' * 1000000 %}" + turns("{{ s == t }}"),
    "in a range": turns("{{ 1.5 in range(199999) }}"),
    # what is hashed
    "key": doubled("{{ {ns.a: 1} }}", "(1,)", "({0}, {0})"),
    "deep key": nested("{{ {ns.a: 1} }}"),
    "deep subscript": nested("{{ {}[ns.a] }}"),
    "deep get": nested("{{ {}.get(ns.a) }}"),
    "deep in": nested("{{ ns.a in {} }}"),
    "deep in a view": nested("{{ ns.a in {}.keys() }}"),
    "deep unique": nested("{{ [ns.a]|unique|list }}"),
    "deep dict": nested("{{ dict([(ns.a, 1)]) }}"),
    "deep test": nested("{{ ns.a is filter }}"),
    # what is spelt
    "printed": doubled("{{ ns.a }}", count=25),
    "joined": doubled("{{ ns.a ~ '' }}", count=25),
    "join": doubled("{{ [ns.a]|join }}", count=25),
    "method join": doubled("{{ ''.join([ns.a]) }}", count=25),
    "tojson": doubled("{{ ns.a|tojson }}", count=25),
    "upper of a list": doubled("{{ ns.a|upper }}", count=25),
    "is upper": doubled("{{ ns.a is upper }}", count=25),
    "string": doubled("{{ ns.a|string }}", count=25),
    "replace of a list": doubled("{{ ns.a|replace('a', 'b') }}", count=25),
    "values": doubled("{{ {1: ns.a}.values() }}"),
    "deep printed": nested("{{ ns.a }}", "[ns.a]"),
    "deep tojson": nested("{{ ns.a|tojson }}", "[ns.a]"),
    "indent of many lines": "{% set t = '\n' * 1000000 %}" + turns("{{ t|indent(8) }}"),
    "copies": kept(n60="([1] * 200000).copy()"),
    "indent": doubled("{{ ([1] * 200000 + ns.a)|tojson(indent=8) }}", "[1]", "[{0}]", 60),
    "separators": LONG + "{{ ([1] * 100000)|tojson(separators=(s, s)) }}",
    "escapes": "{{ (['é' * 2000000] * 15)|tojson(ensure_ascii=true) }}",
    "escapes of repr": PART + "{{ ([s] * 15)|string }}",
    "entities": "{{ ('\"' * 2000000 ~ '😀')|e|length }}",
    "entities by +": "{{ ('😀'|safe + '\"' * 2000000)|length }}",
    # texts again and again
    "title": LONG + turns("{{ s|title|length }}", 20),
    "title of words": WORDS + "{{ s|title|length }}",
    "upper": LONG + turns("{{ s|upper|length }}", 3_000),
    "method upper": LONG + turns("{{ s.upper()|length }}", 3_000),
    "count": LONG + turns("{{ s.count('ba') }}", 3_000),
    "in": LONG + turns("{{ 'bb' in s }}", 3_000),
    "strip": "{{ ('a' * 1000000).strip('b' * 1000000 ~ 'a') }}",
    "trim": "{{ ('a' * 1000000)|trim('b' * 1000000 ~ 'a') }}",
    "trim by name": "{{ ('a' * 1000000)|trim(chars='b' * 1000000 ~ 'a') }}",
    "rfind": f"{{{{ ('a' * 2000000).rfind({NEEDLE}) }}}}",
    "rsplit": f"{{{{ ('a' * 2000000).rsplit({NEEDLE}) }}}}",
    "rpartition": f"{{{{ ('a' * 2000000).rpartition({NEEDLE}) }}}}",
    "slices of a text": WIDE + kept(n50000="s[i:]"),
    "slices of a list": LIST + kept(n50000="l[i:]"),
    "~": "{% set s = 'a' * 2000000 %}" + kept(n50000="s ~ '😀'"),
    "+": "{% set s = 'a' * 2000000 %}" + kept(n50000="s + '😀'"),
    "join of two": "{% set s = 'a' * 2000000 %}" + kept(n50000="[s, '😀']|join"),
    "partition": WIDE + kept(n50000="s.partition('zz')"),
    "replace": "{% set s = 'a' * 1000000 %}" + kept(n50000="s|replace('a', '😀', 1)"),
    "split": WORDS + kept(n50000="s.split()"),
    "split at": WORDS + kept(n50000="s.split(' ')"),
    "splitlines": "{% set s = '漢\\n' * 1000000 %}" + kept(n50000="s.splitlines()"),
    "list": LONG + kept(n60="s|list"),
    "list of words": WORDS + kept(n60="s|list"),
    "sort of a text": WORDS + kept(n60="s|sort"),
    "sort of long texts": LONG + "{{ ([s] * 1000)|sort|length }}",
    "unique of long texts": LONG + "{{ ([s] * 1000)|unique|list|length }}",
    "block": "{% set x %}" + turns("y" * 60_000) + "{% endset %}",
    "block of one text": LONG + "{% set x %}" + turns("{{ s }}") + "{% endset %}",
    "filter block": "{% filter upper %}" + turns("y" * 60_000) + "{% endfilter %}",
    "macro": "{% macro f() %}" + "x" * 60_000 + "{% endmacro %}" + turns("{% set x = f() %}"),
    # lists and numbers
    "list by itself": "{{ [1] * 10**9 }}",
    "tuple by itself": "{{ (1,) * 10**9 }}",
    "sum of lists": turns("{{ ([[1]] * 100000)|sum(start=[])|length }}"),
    "reverse": LIST + turns("{{ l[::-1]|first }}"),
    "spread": "{% macro f() %}{% endmacro %}" + LIST + turns("{{ f(*l) }}"),
    "spread of a text": "{% macro f() %}{% endmacro %}" + WORDS + "{{ f(*s) }}",
    "spread in a filter": LIST + turns("{{ 1|default(*l) }}"),
    "fromkeys": LONG + turns("{% set x = dict.fromkeys(s) %}"),
    "dict": turns("{{ dict([(1, 2)] * 100000) }}"),
    "difference of keys": "{{ {1: 2}.keys() - {2: 3}.keys() }}",
    "long number": "{% set n = ('f' * 2000000)|int(0, 16) %}" + turns("{{ n // 3 }}"),
    "long constant": "{% set n = 0x" + "f" * 60_000 + " %}" + turns("{{ n // 7 }}"),
    "float": turns("{{ ('1' * 2000000)|float }}"),
    "ceil": "{{ 1|round(10**9, 'ceil') }}",
    "round up": "{{ 1|round(-10**9) }}",
    "round of a text": "{{ 'x'|round(9, 'ceil') }}",
    "round of a list": "{{ [1]|round(9, 'ceil') }}",
    "odd": "{{ '%1000000000d' is odd }}",
    "even": "{{ '%1000000000d' is even }}",
    "divisibleby": "{{ '%1000000000d' is divisibleby 1 }}",
    "to_bytes": "{{ (5).to_bytes(10**9, 'big') }}",
    "method by subscript": "{{ ''['ljust'](10**9) }}",
    "format by subscript": "{{ '{:1000000000d}'['format'](1) }}",
    "method by map": "{% for f in ['x']|map(attribute='ljust') %}{{ f(10**9)|length }}{% endfor %}",
    # much in one turn
    "long body": turns("{% set x = messages.b %}" * 2_500),
    "long test": "{% for i in range(90000) if 0 in [" + "messages.b," * 4_000 + "] %}{% endfor %}",
    "long default": "{% macro f(x=[" + "''.a," * 3_000 + "]) %}{% endmacro %}" + turns("{{ f() }}"),
    "long elif": turns("{% if 0 %}" + "{% elif ''.a %}" * 1_000 + "{% endif %}"),
    "generators": "{{ range(99999)" + "|select" * 150 + "|list|length }}",
    "long attribute": "{% set p = 'a.' * 1000000 %}" + turns("{{ [1]|map(attribute=p, default=1)|list }}"),
    "long attribute of a sum": "{% set p = 'a.' * 1000000 %}" + turns("{{ [{}]|sum(attribute=p) }}"),
    "tree of macros": "{% macro f(n) %}{% if n %}{% set a = f(n-1), f(n-1) %}{% endif %}{% endmacro %}{{ f(60) }}",
    "endless macro": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "recursive loop": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "undefined": kept(n50000="messages.x, messages.y, messages.z"),
    "dictionaries kept": kept(n50000="{1: 2}, {2: i}, [], [1]"),
    "namespaces kept": kept(n50000="namespace(x=1), namespace()"),
    "methods kept": kept(n50000="''.upper, {}.get, ''.join, ''.replace"),
    "generators kept": kept(n50000="[1]|map('int'), [1]|select"),
    # getting at what counts
    "less work": "{{ -10**11|weighed_turn }}" + turns(turns("")),
    "less work by map": "{{ [-10**11]|map('weighed_turn')|list }}" + turns(turns("")),
    "less work of a list": "{{ range(10)|list(-10**9) }}" + turns(turns("")),
    # what Python does not compile, or slowly
    "30 loops": "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
    "250 filters": "{{ a" + "|upper" * 250 + " }}",
    "110 conditions": "{% if 1 %}" * 110 + "{% endif %}" * 110,
    "4,000 elifs": "{% if 1 %}" + "{% elif 1 %}" * 4_000 + "{% endif %}",
    "30,000 comparisons": "{{ 1" + "<2" * 30_000 + " }}",
    "30,000 items": "{{ [" + "1," * 30_000 + "] }}",
}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, float, float]]:
    """What was said to every template, in how many seconds and megabytes."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(list(HOSTILE.values())),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return dict(zip(HOSTILE, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_harm_is_refused_before_it_is_done(answers: dict[str, tuple[str, float, float]], name: str) -> None:
    said, seconds, megabytes = answers[name]
    assert said.startswith("the chat template ")
    assert seconds < 2
    assert megabytes < 200


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}{{ 1 == 1.0 }}{{ 'a' in 'ba' }}{{ 'a' not in ['b'] }}",
            "TrueFalseTrueTrueTrue",
        ),
        ("{{ x == y }}{{ x is eq y }}{{ [1, [2]] == [1, [2]] }}{{ {'a': 1} == {'a': 2} }}", "TrueTrueTrueFalse"),
        (
            "{{ 2 in [1, 2]|map('int') }}{{ 2 in range(3) }}{{ 'k' in {'k': 1} }}{{ 1 in {'k': 1}.values() }}",
            "True" * 4,
        ),
        ("{{ 'abcdef'[1:4] }}{{ 'abc'[::-1] }}{{ [1, 2, 3][:-1] }}{{ (1, 2)[1:] }}", "bcdcba[1, 2](2,)"),
        ("{{ [1, none, 'a'] }}{{ {'a': 1.5} }}{{ 'x' ~ [1] ~ 2 ~ none }}", "[1, None, 'a']{'a': 1.5}x[1]2None"),
        ("{{ 'a b'|title }}{{ ' a '|trim }}{{ 'xax'.strip('x') }}{{ 'a,b'.split(',') }}", "A Baa['a', 'b']"),
        ("{{ [3, 1]|sort }}{{ [1, 1]|unique|list }}{{ [1, 2]|sum }}{{ [1, 5]|max }}{{ 2.5|round }}", "[1, 3][1]352.0"),
        ("{{ [{'a': {'b': 1}}]|map(attribute='a.b')|join }}{{ [{'a': 2}]|sum(attribute='a') }}", "12"),
        ("{% if [1]|select('odd') %}a{% endif %}{% if [1]|select('even') %}b{% endif %}", "ab"),
        ("{% for k, v in {'a': 1}|items %}{{ k }}{{ v }}{{ loop.last }}{% else %}none{% endfor %}", "a1True"),
        ("{% for i in [1, 2, 3] if i is odd %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/2 2/2 "),
        ("{% macro f(a, b=[1, 2]) %}{{ a }}{{ b }}{{ kwargs }}{% endmacro %}{{ f(*[0], c=1) }}", "0[1, 2]{'c': 1}"),
        ("{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"),
        ("{{ {('a', 1): 2}[('a', 1)] }}{{ dict(a=1).get('b', 'c') }}{{ ('a' if 0) }}{{ 'A' is upper }}", "2cTrue"),
        ("{{ x|tojson(indent=1, separators=(',', ':')) }}", '[\n 1,\n {\n  "a":"<é>"\n }\n]'),
        ("{% if none %}{{ 1|unheard_of }}{{ [1]|batch(2) }}{% endif %}a", "a"),
        (
            "{{ 'a\nb'|indent }}{{ 'a\n\nb'|indent(1, true, true) }}{{ -2|abs }}{{ x.copy() == x }}",
            "a\n    b a\n \n b2True",
        ),
        ("{% filter upper %}a{{ 'b' }}{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}", "AB1"),
    ],
)
def test_what_is_weighed_is_still_jinjas(template: str, text: str) -> None:
    values: dict[str, Any] = {"x": [1, {"a": "<é>"}], "y": [1, {"a": "<é>"}]}
    assert render_template(template, values) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{{ 1|unheard_of }}", "the filter 'unheard_of'"), ("{{ 1e999 }}", "not finite"), ("{{ -1e999 }}", "not finite")],
)
def test_what_cannot_be_done_is_said(template: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        render_template(template, {})


def test_every_rendering_of_a_template_has_the_whole_allowance() -> None:
    template = Template("{% for i in range(n) %}{{ i }}{% endfor %}")
    for _ in range(5):
        assert len(template.render({"n": 60_000})) == 288_890
    with pytest.raises(DataError, match="loops too long"):
        template.render({"n": 600_000})


@pytest.mark.parametrize("tag", ["{% include 'a' %}", "{% extends 'a' %}", "{% block a %}{% endblock %}"])
def test_a_template_is_one_file_of_known_parts(tag: str) -> None:
    with pytest.raises(DataError, match=r"it uses (include|extends|block) in line 1"):
        Template(tag)


def test_twenty_turns_of_a_long_conversation_are_no_harm() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' and '<t>' not in m.content and m != messages[0] %}"
        "{{ '<' + m['role'] + '>' + m.content | trim + '\n' }}{% elif m.content.startswith('<t>') %}"
        "{{ m.content.split('<t>')[-1].strip() }}{% endif %}{% endfor %}"
    )
    long = "word " * 10_000  # 50 kB each, a million characters in all
    assert len(render_template(template, {"messages": [{"role": "user", "content": long}] * 20})) == 0
    talk = [{"role": "user", "content": f"{turn} {long}"} for turn in range(20)]
    assert len(render_template(template, {"messages": talk})) > 19 * 50_000
