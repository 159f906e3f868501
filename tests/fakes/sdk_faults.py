"""What each SDK makes of a stream that goes wrong, seen by doing it: the table in docs/reference/sdk-faults.md.

    python tests/fakes/sdk_faults.py            write the page
    python tests/fakes/sdk_faults.py --check    say what is not as the page has it; exit status 1 if anything

``tests/fakes/test_sdk_faults.py`` runs the check for the SDKs that are installed in the version that the page names.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network on import
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "sdk-faults.md"
GENERATED = "<!-- Written by tests/fakes/sdk_faults.py; do not edit. -->"
TOKENS = ["One", " two", " thrée", " four"]
READ_TIMEOUT_S = 6.0  # of the clients; real seconds. Only the stall waits for it.
ASK = [{"role": "user", "content": "hi"}]

#: what the table calls it -> the step's keys beside its tokens
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "closed before the first byte": {"disconnect": {"how": "fin"}},
    "closed in mid-header": {"disconnect": {"how": "mid_header"}},
    "closed in order after a token (FIN)": {"disconnect": {"how": "fin", "after_tokens": 2}},
    "reset after a token (RST)": {"disconnect": {"how": "rst", "after_tokens": 2}, "inter_token_s": 0.1},
    "closed in mid-chunk": {"disconnect": {"how": "mid_chunk", "after_tokens": 2}},
    "closed in mid-event": {"disconnect": {"how": "mid_event", "after_tokens": 2}},
    "closed in mid-UTF-8": {"disconnect": {"how": "mid_utf8", "after_tokens": 2}},
    "silent truncation (ends in order)": {"malformed": {"how": "truncated", "after_tokens": 2}},
    "an event that is no JSON": {"malformed": {"how": "broken_event", "after_tokens": 2}},
    "no end mark": {"malformed": {"how": "missing_done"}},
    "two end marks": {"malformed": {"how": "duplicate_done"}},
    "content-length too long": {"malformed": {"how": "too_long"}},
    "content-length too short": {"malformed": {"how": "too_short"}},
    "an error event": {"error": {"kind": "overloaded", "after_tokens": 2}},
    "stalls for ever": {"stall_s": "forever", "stall_after_tokens": 2},
}

Pieces = Iterator[tuple[str, str | None]]  # text, and the reason of the finish once it is known


# --------------------------------------------------------------------------- the SDKs


def openai_chat(origin: str) -> Pieces:
    import openai

    with openai.OpenAI(base_url=f"{origin}/v1", api_key="k", max_retries=0, timeout=READ_TIMEOUT_S) as sdk:
        for chunk in sdk.chat.completions.create(model="m", messages=ASK, stream=True):  # type: ignore[call-overload]
            for choice in chunk.choices:
                yield choice.delta.content or "", choice.finish_reason


def openai_responses(origin: str) -> Pieces:
    import openai

    with openai.OpenAI(base_url=f"{origin}/v1", api_key="k", max_retries=0, timeout=READ_TIMEOUT_S) as sdk:
        for event in sdk.responses.create(model="m", input="hi", stream=True):
            match event.type:
                case "response.output_text.delta":
                    yield event.delta, None
                case "response.completed":
                    yield "", event.response.status
                case "error":
                    yield "", f"event {event.code}"


def anthropic_messages(origin: str) -> Pieces:
    import anthropic

    with anthropic.Anthropic(base_url=origin, api_key="k", max_retries=0, timeout=READ_TIMEOUT_S) as sdk:
        for event in sdk.messages.create(model="m", max_tokens=9, messages=ASK, stream=True):  # type: ignore[call-overload]
            if event.type == "content_block_delta":
                yield event.delta.text, None
            elif event.type == "message_delta":
                yield "", event.delta.stop_reason


def gemini(origin: str) -> Pieces:
    from google import genai

    http = genai.types.HttpOptions(base_url=origin, timeout=int(READ_TIMEOUT_S * 1000))
    with genai.Client(api_key="k", vertexai=False, http_options=http) as sdk:
        for chunk in sdk.models.generate_content_stream(model="m", contents="hi"):
            reason = chunk.candidates[0].finish_reason if chunk.candidates else None
            yield chunk.text or "", reason.name if reason else None


def ollama_chat(origin: str) -> Pieces:
    import ollama

    for part in ollama.Client(host=origin, timeout=READ_TIMEOUT_S).chat(model="m", messages=ASK, stream=True):
        yield part.message.content or "", part.done_reason


def litellm_chat(origin: str) -> Pieces:
    import litellm

    litellm.suppress_debug_info = True
    ask = {"model": "openai/m", "messages": ASK, "api_base": f"{origin}/v1", "api_key": "k"}
    for chunk in litellm.completion(**ask, stream=True, timeout=READ_TIMEOUT_S, num_retries=0, max_retries=0):
        yield chunk.choices[0].delta.content or "", chunk.choices[0].finish_reason


@dataclass(frozen=True)
class Sdk:
    """``package`` as the registry calls it."""

    title: str
    package: str
    read: Callable[[str], Pieces]

    @property
    def version(self) -> str | None:
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


SDKS = (
    Sdk("openai, chat", "openai", openai_chat),
    Sdk("openai, Responses", "openai", openai_responses),
    Sdk("anthropic", "anthropic", anthropic_messages),
    Sdk("google-genai", "google-genai", gemini),
    Sdk("ollama", "ollama", ollama_chat),
    Sdk("litellm (OpenAI)", "litellm", litellm_chat),
)


# --------------------------------------------------------------------------- seeing


def outcome(pieces: Pieces) -> str:
    """How many tokens came, and how it ended, in a few words."""
    text, reason, end = "", None, ""
    try:
        for more, said in pieces:
            text += more
            reason = said or reason
    except Exception as error:  # whatever an SDK raises is what the table shows
        kind = type(error)
        end = f"`{kind.__module__.partition('.')[0]}.{kind.__name__}`"
    if not end:
        end = f"ends, {reason}" if reason else "**ends as if nothing were wrong, no reason**"
    whole = "".join(TOKENS)
    if not whole.startswith(text):
        return f"damaged text; {end}"
    count = next(count for count in range(len(TOKENS) + 1) if len("".join(TOKENS[:count])) >= len(text))
    return f"{count} of {len(TOKENS)}; {end}"


async def observe(sdk: Sdk, fault: str) -> str:
    """Play one fault to one SDK on a server of its own."""
    script = load_model_script({"models": {"m": [{"tokens": TOKENS, **FAULTS[fault]}]}})
    async with ModelServer(script) as server:
        return await asyncio.to_thread(lambda: outcome(sdk.read(server.origin)))


def page(cells: dict[tuple[str, str], str]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted({(s.package, s.version) for s in SDKS}))
    rows = [["fault", *(sdk.title for sdk in SDKS)], ["---"] * (len(SDKS) + 1)]
    rows += [[fault, *(cells[fault, sdk.title] for sdk in SDKS)] for fault in FAULTS]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"""{GENERATED}

# What SDKs do when a stream goes wrong

Each cell was seen: the model server plays the fault to the SDK, in a stream of four tokens that goes wrong after the
second (or at its start or end, where the fault is there). The number says how many tokens reached the program; what
follows is how the stream ended for it: the error that was raised, or the reason of the finish. All with retries off and
a read timeout of {READ_TIMEOUT_S:g} s, synchronous clients.

`python tests/fakes/sdk_faults.py` writes this page anew; a test fails where an SDK of the same version does something
else. Versions: {versions}.

{table}

In bold: the program cannot know that the answer is not whole, unless it looks for the reason of the finish itself.
Gemini and Ollama have no end mark of their own beside the last event; "no end mark" takes Ollama's last line away, and
does nothing to Gemini.
"""


def documented() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Versions and cells of the page as it stands."""
    text = PAGE.read_text(encoding="utf-8")
    versions = dict(re.findall(r"([\w-]+) ([\d.]+\d)", text.split("Versions: ")[1].split("\n")[0]))
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    titles = [cell.strip() for cell in header.strip("|").split("|")][1:]
    cells = {}
    for line in lines:
        fault, *seen = [cell.strip() for cell in line.strip("|").split("|")]
        cells |= {(fault, title): one for title, one in zip(titles, seen, strict=True)}
    return versions, cells


async def observe_all(sdk: Sdk) -> dict[tuple[str, str], str]:
    """All faults at once: the stall waits for its timeout beside the others."""
    seen = await asyncio.gather(*(observe(sdk, fault) for fault in FAULTS))
    return {(fault, sdk.title): one for fault, one in zip(FAULTS, seen, strict=True)}


def main(arguments: list[str]) -> int:
    absent = sorted({sdk.package for sdk in SDKS if sdk.version is None})
    if absent:
        print(f"not installed: {', '.join(absent)}; pip install -e '.[test,sdks]'", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    cells: dict[tuple[str, str], str] = {}
    for sdk in SDKS:
        print(f"{sdk.title} ...", file=sys.stderr)
        cells |= asyncio.run(observe_all(sdk))
    if "--check" not in arguments:
        PAGE.write_text(page(cells), encoding="utf-8")
        print(f"written: {PAGE.name}")
        return 0
    before = documented()[1] if PAGE.exists() else {}
    wrong = [key for key, seen in cells.items() if before.get(key) != seen]
    for fault, title in wrong:
        print(f"{title}, {fault}: {cells[fault, title]}, not {before.get((fault, title))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
