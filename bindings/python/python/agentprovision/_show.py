"""How records that people read are written out: as the Rust crate prints them."""

from __future__ import annotations

from typing import Any

from . import _types as t
from ._record import SHOWN


def _chain(chain: t.Chain) -> str:
    width = min(40, max([4, *(len(step.name) for step in chain.steps)]))
    lines = [f"{'step':>4}  {'kind':<5}  {'name':<{width}}  {'ms':>8}  {'in':>7}  {'out':>7}  {'cost USD':>12}  result"]
    for step in chain.steps:
        number = [("-" if value is None else str(value)) for value in (step.input_tokens, step.output_tokens)]
        cost = "-" if step.cost_usd is None else format(step.cost_usd, "f")
        result = step.error.kind if step.error is not None else "ok" if step.success else "…"
        again = f" after {step.attempts} attempts" if step.attempts > 1 else ""
        lines.append(
            f"{step.step:>4}  {step.kind:<5}  {step.name:<{width}}  {step.duration_ms:>8}  {number[0]:>7}  {number[1]:>7}"
            f"  {cost:>12}  {result}{again}"
        )
    total = "unknown" if chain.summary.total_cost_usd is None else format(chain.summary.total_cost_usd, "f")
    tokens = [sum(step.input_tokens or 0 for step in chain.steps), sum(step.output_tokens or 0 for step in chain.steps)]
    lines.append(
        f"{chain.status} in {chain.total_duration_ms} ms: {len(chain.steps)} steps, {tokens[0]} + {tokens[1]} tokens, "
        f"cost {total} USD"
    )
    return "\n".join(lines)


def _usage(usage: t.UsageSummary) -> str:
    lines = [f"{meter:<22}{quantity:>12}" for meter, quantity in usage.meters.items()]
    lines.append(f"{'cost (USD)':<22}{format(usage.cost_usd, 'f'):>12}")
    if usage.unpriced_requests > 0:
        lines.append(f"{'requests without price':<22}{usage.unpriced_requests:>12}")
    return "\n".join(lines)


def _finished(event: t.RunEventFinished) -> str:
    return f"\n[{event.status}]\n" if event.error is None else f"\n[{event.status}: {event.error.message}]\n"


_EVENTS: dict[type, Any] = {
    t.RunEventStarted: lambda event: f"[run {event.run} started]\n",
    t.RunEventStepStarted: lambda event: f"[tool {event.name}]\n" if event.kind == "tool" else "",
    t.RunEventText: lambda event: event.text,
    t.RunEventRestarted: lambda _: "\n[the answer begins again]\n",
    t.RunEventStepFinished: lambda event: "" if event.error is None else f"[failed: {event.error.message}]\n",
    t.RunEventApprovalRequested: lambda event: f"[{event.tool} waits for approval]\n",
    t.RunEventApprovalAnswered: lambda event: "[approved]\n" if event.approved else "[denied]\n",
    t.RunEventCancelRequested: lambda _: "[cancel requested]\n",
    t.RunEventFinished: _finished,
}

SHOWN.update(_EVENTS)
SHOWN[t.Chain] = _chain
SHOWN[t.UsageSummary] = _usage
