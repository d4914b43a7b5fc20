// Compiled, never run: what the types promise.

import { Platform, tool, model, connector, NotFoundError, AgentProvisionError, type Context, type RunEvent } from 'agentprovision'
import { ManualClock, ScriptedModel } from 'agentprovision/testing'
import { z } from 'zod'

const lookup = tool(
  { name: 'lookup', description: 'Looks up', effect: 'pure', schema: z.object({ id: z.number() }) },
  async ({ id }, call) => {
    const number: number = id
    const rows = await call.tx.query('SELECT 1', [number, null, Buffer.from('x')])
    return { rows: rows.length, key: call.idempotencyKey, aborted: call.signal.aborted }
  },
)
const plain = tool({ name: 'plain', parameters: { type: 'object' } }, ({ anything }) => anything)
const parrot = model({ name: 'parrot', price: { input: '0.1', output: '0.2' } }, async function* (request) {
  yield request.messages.length.toString()
  yield { type: 'usage', inputTokens: 1, outputTokens: 2 }
})
const whole = model({ name: 'whole' }, async () => ({ text: 'x', toolCalls: [{ name: 'lookup', arguments: { id: 1 } }] }))
const desk = connector({
  name: 'desk', auth: ['bearer', { type: 'header', header: 'x-api-key' }], credentials: { user: 'The user.' },
  settings: { queue: 'The queue.' }, whoami: { operation: 'users.me', id: '/id', name: '/login' },
  operations: {
    'users.me': { effect: 'read', run: async (_, call) => (await call.send('GET', '/me', { check: false })).json() },
    'tickets.get': {
      idempotency: 'natural', timeoutMs: 5, schema: z.object({ number: z.number() }),
      run: async ({ number }, call) => (await call.send('GET', '/{n}', { params: { n: number, tags: ['a'] } })).status,
    },
  },
})

export async function main(): Promise<void> {
  await using platform = await Platform.open({
    store: 'memory://', providers: ['openai', { type: 'openai_compatible', name: 'x', baseUrl: 'http://x', keyEnv: 'Y' }],
    tools: [lookup, plain], models: [parrot, whole, new ScriptedModel('s', ['a', { tools: [['x', {}]] }, { stall: 'b' }])],
    secrets: { Y: 'z' }, engine: { leaseMs: 1000 }, clock: new ManualClock({ start: '2026-01-01T00:00:00Z', seed: 1 }),
    authorizer: ({ permission }) => (permission === 'agents:run' ? { allow: false, reason: 'no' } : null),
    subscribers: [(events) => events.map(({ seq, event }) => [seq, event.type])],
  })
  const operator = platform.operator('me', 'why')
  const tenant = await platform.tenants.create(operator, { name: 'acme', settings: { a: [1, null] } })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'a@b.c' })
  const ctx: Context = await platform.context(tenant, root.id)
  const agent = await platform.agents.create(ctx, { name: 'a', model: parrot, tools: [lookup, 'plain'], budget: { perRun: { costUsd: '1' } } })
  const stream = platform.runs.stream(ctx, agent, 'hello', { onDisconnect: 'cancel', signal: AbortSignal.timeout(1) })
  for await (const event of stream) show(event)
  const outcome = await (await stream.run).wait()
  const cost: string | null = outcome.chain.summary.totalCostUsd
  const answer = outcome.output<{ label: string }>()
  for await (const user of platform.users.iterate(ctx)) user.email satisfies string
  try {
    await platform.agents.get(ctx, 'x')
  } catch (error) {
    if (error instanceof NotFoundError) error.retryAfter satisfies number | null
    if (error instanceof AgentProvisionError && error.code === 'conflict') throw new AgentProvisionError('x', { code: 'conflict' })
  }
  void [cost, answer.label]

  const answered = await platform.models.complete(ctx, 'm', 'hello', { maxTokens: 5, route: { fallbacks: ['n'] } })
  const spent: string | null = answered.costUsd
  answered.answer.text satisfies string
  for (const attempt of answered.attempts) if (attempt.end === 'failed') attempt.category satisfies string
  for await (const event of platform.models.stream(ctx, 'm', [{ role: 'system', text: 'Be brief.' }])) {
    if (event.type === 'text') event.text satisfies string
  }
  const { answer: { vectors } } = await platform.models.embed(ctx, 'm', ['one'], { purpose: 'query' })
  void [spent, vectors[0]?.[0] satisfies number | undefined]

  const connected = await Platform.open({ connectors: { enabled: ['github', desk], apps: { github: { clientId: 'x' } } } })
  const made = await connected.integrations.create(ctx, { name: 'code', connector: 'github', credentials: { token: 'x' } })
  const issue = await connected.integrations.invoke<{ number: number }>(ctx, made, 'issues.create', { owner: 'o' }, { idempotencyKey: 'k' })
  issue.number satisfies number
  if (made.state === 'needs_reconnect') made.health?.message satisfies string | null | undefined
  const { operations } = await connected.connectors.get(ctx, 'desk')
  for (const operation of operations) if (operation.effect === 'destroy') operation.tool satisfies string

  // @ts-expect-error a context is not text
  await platform.agents.get('ctx', agent)
  // @ts-expect-error an operator acts above the tenants
  await platform.users.list(operator)
  // @ts-expect-error no such effect
  tool({ name: 'x', effect: 'sometimes' }, () => 1)
  // @ts-expect-error no such option
  await platform.runs.start(ctx, agent, 'x', { idempotency: 'x' })
  // @ts-expect-error a number is not money
  await platform.agents.create(ctx, { name: 'a', budget: { perRun: { costUsd: 0.05 } } })
  // @ts-expect-error no such role
  await platform.models.complete(ctx, 'm', [{ role: 'robot', text: 'hello' }])
  // @ts-expect-error no such strategy
  await Platform.open({ routing: { strategy: 'cheapest' } })
  // @ts-expect-error a platform is opened
  new Platform()
}

function show(event: RunEvent): string {
  switch (event.event) {
    case 'text':
      return event.text
    case 'approval_requested':
      return event.argsHash
    default:
      return String(event)
  }
}
