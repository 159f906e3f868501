"""The table of what SDKs do is what they do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDKs' own


def load() -> Any:
    spec = importlib.util.spec_from_file_location("sdk_faults", Path(__file__).with_name("sdk_faults.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sdk_faults"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


sdk_faults = load()


@pytest.mark.parametrize("sdk", sdk_faults.SDKS, ids=lambda sdk: sdk.title)
async def test_the_page_tells_what_the_sdk_does(sdk: Any) -> None:
    versions, cells = sdk_faults.documented()
    if sdk.version != versions[sdk.package]:
        pytest.skip(f"the page is of {sdk.package} {versions[sdk.package]}; installed: {sdk.version}")
    seen = await sdk_faults.observe_all(sdk)
    assert seen == {key: cells[key] for key in seen}, "not current: python tests/fakes/sdk_faults.py"


def test_the_page_has_every_fault_and_every_sdk() -> None:
    _, cells = sdk_faults.documented()
    assert cells.keys() == {(fault, sdk.title) for fault in sdk_faults.FAULTS for sdk in sdk_faults.SDKS}
