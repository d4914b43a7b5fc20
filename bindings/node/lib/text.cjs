'use strict'
// Events and chains as people read them in a terminal: the same text as the facade's.

function eventText(event) {
  switch (event.event) {
    case 'text':
      return event.text
    case 'started':
      return `[run ${event.run} started]\n`
    case 'step_started':
      return event.kind === 'tool' ? `[tool ${event.name}]\n` : ''
    case 'step_finished':
      return event.error ? `[failed: ${event.error.message}]\n` : ''
    case 'restarted':
      return '\n[the answer begins again]\n'
    case 'approval_requested':
      return `[${event.tool} waits for approval]\n`
    case 'approval_answered':
      return event.approved ? '[approved]\n' : '[denied]\n'
    case 'cancel_requested':
      return '[cancel requested]\n'
    case 'finished':
      return event.error ? `\n[${event.status}: ${event.error.message}]\n` : `\n[${event.status}]\n`
    default:
      return ''
  }
}

function chainText(chain) {
  const longest = Math.max(4, ...chain.steps.map((step) => [...step.name].length))
  const width = Math.min(longest, 40)
  const line = (step, kind, name, ms, input, output, cost, result) => [
    String(step).padStart(4), kind.padEnd(5), name.padEnd(width), String(ms).padStart(8),
    String(input ?? '-').padStart(7), String(output ?? '-').padStart(7), String(cost ?? '-').padStart(12), result,
  ].join('  ')
  const lines = [line('step', 'kind', 'name', 'ms', 'in', 'out', 'cost USD', 'result')]
  for (const step of chain.steps) {
    const result = step.error?.kind ?? (step.success ? 'ok' : '…')
    const tries = step.attempts > 1 ? ` after ${step.attempts} attempts` : ''
    const { kind, name, durationMs, inputTokens, outputTokens, costUsd } = step
    lines.push(line(step.step, kind, name, durationMs, inputTokens, outputTokens, costUsd, result + tries))
  }
  const sum = (key) => chain.steps.reduce((total, step) => total + (step[key] ?? 0), 0)
  lines.push(
    `${chain.status} in ${chain.totalDurationMs} ms: ${chain.steps.length} steps, ` +
      `${sum('inputTokens')} + ${sum('outputTokens')} tokens, cost ${chain.summary.totalCostUsd ?? 'unknown'} USD`,
  )
  return lines.join('\n')
}

module.exports = { eventText, chainText }
