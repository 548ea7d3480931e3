"""mcp-server-time: both tools."""

import json
import re

from tests.interop.steps import Json, Rule, Scenario, Step, call, listing

CONVERSION = {"source_timezone": "Asia/Kathmandu", "time": "16:30", "target_timezone": "Asia/Tokyo"}

STEPS: list[Step] = [
    Step("ping"),
    listing("list_tools", "Use 'Europe/Zurich' as local timezone"),
    call("get_current_time", {"timezone": "Asia/Tokyo"}, says="+09:00"),
    call("get_current_time", {"timezone": "Nowhere/Land"}, ends="tool error", says="Invalid timezone"),
    call("convert_time", CONVERSION, says="+3.25h"),
    call("convert_time", {**CONVERSION, "time": "25:99"}, ends="tool error", says="Expected HH:MM"),
    call("convert_time", {"time": "10:00"}, ends="tool error", says="target_timezone"),
    call("tell_time", ends="error", says="-32602"),
    Step("ping"),
]


def without_the_clock(outcome: Json) -> Json:
    """Only for the current time; a conversion gives the time it was asked for."""
    stopped: Json = json.loads(re.sub(r"T\d\d:\d\d:\d\d", "T<clock>", json.dumps(outcome)))
    return stopped


SCENARIO = Scenario(
    steps=STEPS,
    views={"call get_current_time": without_the_clock},
    rules=(
        Rule("the date", re.compile(r"\d{4}-\d\d-\d\dT"), "<date>T"),
        Rule("the day", re.compile(r"\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"), "<day>"),
    ),
)
