"""`headstart prompt`: a base and a text in, its continuation out, written as it comes.

One text streams to standard output. --file answers many at once, a JSON line each; --json prints one object. Either way
an answer is written as soon as it and all before it are done. Without a text, lines are read and answered until the
input ends. Words and figures (tokens a second) go to standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from headstart.base.base import Base
from headstart.base.sampling import Sampling
from headstart.data.source import read_bytes
from headstart.data.table import Table, read_table
from headstart.flags import PromptFlags, refuse_blank
from headstart.ground.errors import INTERRUPTED, ConfigError, DataError, HeadstartError, did_you_mean
from headstart.ground.stopping import in_one_piece
from headstart.prompt.chat import Message
from headstart.prompt.engine import Answer, Engine, Request, Token
from headstart.prompt.schema import Schema

COLUMN = "prompt"
MAX_REJECT = 0.01  # largest share of a table's rows that is left out because it cannot be read
QUIT = "an empty line is skipped; end with Ctrl-D"


@dataclass(frozen=True, slots=True)
class Cost:
    """What answering took. tokens_read: of prompts, what they share once. seconds: of wall clock."""

    tokens_read: int
    tokens: int
    seconds: float

    def words(self) -> str:
        """One line for standard error."""
        rate = self.tokens / max(self.seconds, 1e-9)
        return f"{self.tokens:,} tokens in {self.seconds:.2f} s, {rate:.1f} tokens/s; {self.tokens_read:,} tokens read"


def prompt_base(name: str, text: str | None, flags: PromptFlags) -> int:
    """Answer `text`, every prompt of a file, or line after line."""
    refuse_blank(name, "BASE")
    check_flags(text, flags)
    asked = Asking(flags)
    check_draws(flags)
    prompts = None if flags.file is None else read_prompts(flags.file)
    engine = Engine(Base.load(name, allow_pickle=flags.allow_pickle), weights=flags.weights)
    if text is None and prompts is None:
        return converse(engine, asked)
    if text is not None and not flags.json:
        stream(engine, asked.request(text))
        return 0
    given = [("", text)] if text is not None else prompts or []
    requests = repeated([asked.request(prompt, place) for place, prompt in given])
    return answer_all(engine, requests, name=name, whole=flags.json)


def check_flags(text: str | None, flags: PromptFlags) -> None:
    """ConfigError for flags that do not go together, before anything is loaded."""
    if text is not None and flags.file is not None:
        raise ConfigError("both a text and --file are given; expected one of them. Leave the other out.")
    if flags.system is not None and not flags.chat:
        raise ConfigError("--system is given without --chat; expected both, or a text that says it. Add --chat.")
    if text is None and flags.file is None and flags.json:
        raise ConfigError("--json is given without a text and without --file; expected one of them. Give a text.")
    if flags.logprobs is not None and not flags.json and flags.file is None:
        raise ConfigError("--logprobs is given for plain text; expected --json or --file beside it. Add --json.")
    if flags.stop and flags.schema is not None:
        raise ConfigError(
            "--stop is given beside --schema, which ends an answer itself; expected one. Leave --stop out."
        )


def check_draws(flags: PromptFlags) -> None:
    """ConfigError for flags of drawing where nothing is drawn."""
    drawn = {"--top-k": flags.top_k is not None, "--top-p": flags.top_p != 1.0, "--min-p": flags.min_p != 0.0}
    if flags.temperature == 0.0 and any(drawn.values()):
        name = next(flag for flag, given in drawn.items() if given)
        raise ConfigError(
            f"{name} is given at temperature 0, which always takes the most probable token; expected a temperature "
            f"above 0. Add --temperature 1, or leave {name} out."
        )


class Asking:
    """The flags as requests. In a conversation the messages so far stand before the new one."""

    def __init__(self, flags: PromptFlags) -> None:
        self._flags = flags
        self._sampling = Sampling(
            max_tokens=flags.max_tokens,
            seed=flags.seed,
            temperature=flags.temperature,
            top_k=flags.top_k,
            top_p=flags.top_p,
            min_p=flags.min_p,
            repetition_penalty=flags.repetition_penalty,
            presence_penalty=flags.presence_penalty,
            frequency_penalty=flags.frequency_penalty,
            logprobs=flags.logprobs,
        )
        self._schema = None if flags.schema is None else read_schema(flags.schema)
        self._before: list[Message] = [] if flags.system is None else [{"role": "system", "content": flags.system}]

    def request(self, text: str, place: str = "") -> Request:
        """What `text` asks. place: file and line it stands in, for messages."""
        prompt = [*self._before, {"role": "user", "content": text}] if self._flags.chat else text
        return Request(prompt, self._sampling, self._flags.stop, self._flags.truncate, schema=self._schema, place=place)

    def remember(self, text: str, answer: str) -> None:
        """With --chat, what was said stands before the next message."""
        if self._flags.chat:
            self._before += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


def read_prompts(source: str) -> list[tuple[str, str]]:
    """(file:line, prompt) of a table's column, or of the lines of a .txt or of standard input."""
    if source != "-" and not source.lower().removesuffix(".gz").removesuffix(".zst").endswith(".txt"):
        table = read_table(source, max_reject=1.0)
        leave_out(table)
        if COLUMN not in table.columns:
            raise DataError(
                f"{table.source} has no column {COLUMN!r}; expected it beside {', '.join(list(table.columns)[:12])}."
                f"{did_you_mean(COLUMN, table.columns)} Rename the column that holds the prompts."
            )
        found = table.columns[COLUMN]
        empty = next((row for row, prompt in enumerate(found) if not isinstance(prompt, str) or not prompt), None)
        if empty is not None:
            raise DataError(f"{table.place(empty)}: {COLUMN} is {found[empty]!r}; expected text. Fix the row.")
        return [(table.place(row), prompt) for row, prompt in enumerate(found)]
    name, content = read_bytes(source, expected="a prompt a line")
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    places = [(f"{name}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    return [(place, decoded(line, place)) for place, line in places]


def leave_out(table: Table) -> None:
    """Name the rows that cannot be read; DataError where they are too many."""
    total = len(table) + len(table.rejects)
    if len(table.rejects) > MAX_REJECT * total:
        first = table.rejects[0]
        raise DataError(
            f"{table.source}:{first.line}: {first.reason} ({first.excerpt}). {len(table.rejects):,} of {total:,} rows "
            f"cannot be used; expected at most {MAX_REJECT:.0%}. Mend the file."
        )
    for reject in table.rejects:
        sys.stderr.write(f"{table.source}:{reject.line}: {reject.reason}; left out.\n")


def read_schema(path: Path) -> Schema:
    """The JSON object in a file."""
    name, content = read_bytes(path, expected="a JSON schema")
    try:
        schema = json.loads(decoded(content, name))
    except json.JSONDecodeError as problem:
        raise DataError(f"{name} is not JSON: {problem}; expected a JSON schema. Mend the file.") from problem
    except RecursionError as problem:
        raise DataError(f"{name} is nested too deeply; expected a JSON schema. Mend the file.") from problem
    if not isinstance(schema, dict):
        raise DataError(f"{name} holds no JSON object; expected a JSON schema. Give one.")
    return schema


def decoded(line: bytes, place: str) -> str:
    """A line of input as text, without the mark that some editors put before UTF-8."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{place} is not UTF-8 at byte {problem.start}; expected UTF-8. Convert it first.") from problem


def repeated(requests: list[Request]) -> list[Request]:
    """Equal prompts get copies of their own, so that they are drawn independently."""
    seen: Counter[str] = Counter()
    found = []
    for request in requests:
        key = repr(request.prompt)
        found.append(replace(request, copy=seen[key]))
        seen[key] += 1
    return found


def stream(engine: Engine, request: Request) -> str:
    """Write one answer as it comes, and what it cost."""
    started, read, cut = time.perf_counter(), engine.units_read, engine.units_cut
    pieces = []
    finish = None
    with closing(engine.stream(request)) as coming:
        for piece in coming:
            pieces.append(piece.text)
            finish = piece.finish
            sys.stdout.write(piece.text)
            sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    cost = Cost(engine.units_read - read, len(pieces), time.perf_counter() - started)
    warn_of_cuts(engine.units_cut - cut)
    warn_of_parts(int(request.schema is not None and finish == "length"))
    sys.stderr.write(cost.words() + "\n")
    return "".join(pieces)


def answer_all(engine: Engine, requests: list[Request], *, name: str, whole: bool) -> int:
    """Write every answer as soon as it and all before it are done; what is written stays where the rest is stopped."""
    page = Page(engine, name=name, whole=whole)
    try:
        with closing(engine.each(requests)) as coming:
            for request, answer in zip(requests, coming, strict=True):
                page.add(request, answer)
    except (KeyboardInterrupt, HeadstartError) as problem:
        if page.written:
            page.end()
        so_far = f"{page.written:,} of {len(requests):,} answers were written"
        if isinstance(problem, KeyboardInterrupt):
            sys.stderr.write(f"headstart: interrupted; {so_far}.\n")
            return INTERRUPTED
        if page.written:
            sys.stderr.write(f"headstart: stopped; {so_far}.\n")
        raise
    page.end()
    return 0


class Page:
    """Standard output, to which answers are added one by one: a JSON line each, or with `whole` a part of one object.

    The object is the same as if it were written at once, but for a new line between two answers.
    """

    def __init__(self, engine: Engine, *, name: str, whole: bool) -> None:
        self._engine, self._name, self._whole = engine, name, whole
        self._started = time.perf_counter()
        self._tokens = self._parts = 0
        self.written = 0

    def add(self, request: Request, answer: Answer) -> None:
        """Write an answer, through to whoever reads."""
        line = json.dumps(facts_of(request, answer), ensure_ascii=False)
        if self._whole and not self.written:
            line = f'{{"base": {json.dumps(self._name, ensure_ascii=False)}, "answers": [' + line
        elif self._whole:
            line = ",\n" + line
        else:
            line += "\n"
        with in_one_piece():
            sys.stdout.write(line)
            sys.stdout.flush()
            self.written += 1
            self._tokens += answer.units
            self._parts += request.schema is not None and answer.finish == "length"

    def end(self) -> None:
        """Close the object, and say what the answers so far cost."""
        cost = Cost(self._engine.units_read, self._tokens, time.perf_counter() - self._started)
        if self._whole:
            sys.stdout.write(f'], "cost": {json.dumps(asdict(cost))}}}\n')
            sys.stdout.flush()
        warn_of_cuts(self._engine.units_cut)
        warn_of_parts(self._parts)
        sys.stderr.write(cost.words() + "\n")


def warn_of_cuts(units: int) -> None:
    """Say that prompts which were too long lost their beginning."""
    if units:
        sys.stderr.write(f"{units:,} tokens were cut off the beginning of what was too long.\n")


def warn_of_parts(count: int) -> None:
    """Say that answers by a schema ended before they were whole."""
    if count:
        sys.stderr.write(f"{count:,} answers ended before their JSON was whole; raise --max-tokens.\n")


def facts_of(request: Request, answer: Answer) -> dict[str, Any]:
    """One answer as plain JSON."""
    facts: dict[str, Any] = {
        "prompt": request.prompt,
        "answer": answer.text,
        "finish": answer.finish,
        "prompt_tokens": answer.prompt_units,
        "tokens": answer.units,
    }
    if answer.cut:
        facts["cut_tokens"] = answer.cut
    if answer.tokens:
        facts["logprobs"] = [
            {**token_facts(token), "top": [token_facts(one) for one in token.top]} for token in answer.tokens
        ]
    return facts


def token_facts(token: Token) -> dict[str, Any]:
    """id: tells tokens of one text apart."""
    return {"token": token.text, "id": token.unit, "logprob": token.logprob}


def converse(engine: Engine, asked: Asking) -> int:
    """Answer line after line. Ctrl-C ends an answer, at the start of a line the conversation."""
    person = sys.stdin.isatty()
    if person:
        sys.stderr.write(f"Type a text; {QUIT}.\n")
    for number, line in enumerate(lines_of(person), start=1):
        text = decoded(line.rstrip(b"\r\n"), f"stdin:{number}")
        if not text.strip():
            continue
        try:
            answer = stream(engine, asked.request(text))
        except KeyboardInterrupt:
            if not person:
                raise
            sys.stdout.write("\n")
        except HeadstartError as problem:
            if not person:
                raise
            sys.stderr.write(f"{problem}\n")
        else:
            asked.remember(text, answer)
    return 0


def lines_of(person: bool) -> Iterator[bytes]:
    """Lines of standard input until it ends, each asked for where somebody sits there."""
    while True:
        if person:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.buffer.readline(1 << 20)
        if not line:
            return
        yield line
