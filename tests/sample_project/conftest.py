import pytest

lockjaw_time_scale = pytest.fixture(lambda: 0.02)
