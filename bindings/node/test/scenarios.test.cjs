'use strict'
// The main job and what is left behind: the scenarios of the facade's own tests, from Node.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { createHash } = require('node:crypto')
const { Platform, tool, model, NotFoundError, BudgetExceededError, CancelledError, ConflictError, PermissionDeniedError } = require('../index.cjs')
const { ScriptedModel } = require('../testing.cjs')
const { LIMIT, PRICE, ID, folder, ON_SERVER, storeIn, open, home, builder, deployed, calls, eventually, later } = require('./support.cjs')

const find = tool({ name: 'find_order', description: 'Finds an order', effect: 'pure', parameters: ID },
  ({ id }) => ({ id, state: 'shipped' }))
const asks = () => new ScriptedModel('m', [{ tools: [['find_order', { id: '1234' }]] }, 'Order 1234 is on its way.'], { price: PRICE })

async function mainJob(platform) {
  const acme = await home(platform)
  const ctx = await acme.user('ada', 'agent_manager')
  const agent = await deployed(platform, ctx, {
    name: 'triage', instructions: 'Help.', tools: [find], budget: { perRun: { costUsd: '0.05' } },
  })
  const run = await platform.runs.start(ctx, agent, 'Where is 1234?')
  const seen = []
  for await (const event of run) seen.push(event)
  assert.equal(seen.map(String).join(''),
    `[run ${run.id} started]\n[tool find_order]\nOrder 1234 is on its way.\n[completed]\n`)
  assert.deepEqual(seen.at(-1).totals, { steps: 3, toolCalls: 1, inputTokens: 110, outputTokens: 11, cost: '0.000132', unpriced: 0 })
  const outcome = await run.wait()
  assert.equal(outcome.text, 'Order 1234 is on its way.')
  assert.equal(outcome.status, 'completed')
  assert.equal(outcome.error, null)
  assert.match(String(outcome.chain), /find_order .* ok\n.*\ncompleted in \d+ ms: 3 steps, 110 \+ 11 tokens, cost 0.000132 USD$/s)
  const usage = await platform.usage.summary(acme.admin)
  assert.equal(usage.costUsd, outcome.record.costUsd)
  assert.equal(usage.meters['llm.tokens.input'], 110)
  const events = await platform.events.read(acme.admin, { limit: 500 })
  assert.deepEqual(events.map(({ seq }) => seq), events.map((_, index) => index + 1))
  assert.ok(events.some(({ event }) => event.type === 'agentprovision.run.finished'))
  const head = await platform.audit.verify(acme.admin)
  const [last] = await platform.audit.entries(acme.admin, { from: head.size - 1, limit: 1 })
  const leaf = createHash('sha256').update(Buffer.concat([Buffer.from([0]), Buffer.from(last.bytes, 'base64')])).digest('hex')
  assert.equal(last.leaf, leaf)
  const proof = await platform.audit.prove(acme.admin, { seq: head.size - 1, size: head.size })
  assert.deepEqual(proof.checkpoint, head)
  const journal = await run.journal()
  assert.equal(journal.rows.at(-1).hash, outcome.record.head)
  return { acme, ctx, agent, run }
}

test('the main job in memory, and a platform that is closed', LIMIT, async () => {
  const platform = await Platform.open({ tools: [find], models: [asks()] })
  const { acme, ctx, run } = await mainJob(platform)
  assert.deepEqual(platform.models.names(), ['m'])
  await platform.close()
  await platform.close()
  for (const late of [
    () => platform.tenants.list(acme.operator), () => platform.users.list(ctx), () => run.wait(),
    () => run.events().next(), () => platform.context(acme.tenant, acme.root), () => run.cancel(),
    async () => platform.operator('ops@host.example', 'late'), async () => platform.models.names(),
  ]) {
    await assert.rejects(late, { name: 'ClosedError', code: 'closed', httpStatus: 503 })
  }
})

test('a scripted model keeps what it was asked', LIMIT, async (t) => {
  const model = asks()
  assert.deepEqual(model.requests(), [])
  const platform = await open(t, { tools: [find], models: [model] })
  await mainJob(platform)
  const [first, second] = model.requests()
  assert.equal(model.requests().length, 2)
  assert.equal(first.messages.at(-1).role, 'user')
  assert.deepEqual(first.tools.map(({ name }) => name), ['find_order'])
  const { role, name, content } = second.messages.at(-1)
  assert.deepEqual([role, name, JSON.parse(content).id], ['tool', 'find_order', '1234'])
  assert.equal(first.outputSchema, null)
})

test('the main job on SQLite, and what a second platform sees', LIMIT, async (t) => {
  const store = storeIn(folder(t))
  const first = await Platform.open({ store, tools: [find], models: [asks()] })
  const { acme, agent, run } = await mainJob(first)
  const chain = await run.chain()
  await first.close()

  const again = await open(t, { store, tools: [find], models: [asks()] })
  const operator = again.operator('ops@host.example', 'look')
  const tenants = []
  for await (const tenant of again.tenants.iterate(operator, { limit: 1 })) tenants.push(tenant)
  assert.deepEqual(tenants.map(({ id }) => id), [acme.tenant.id])
  await again.audit.verifyPlatform(operator)
  const admin = await again.context(acme.tenant, acme.root)
  assert.deepEqual(JSON.parse(JSON.stringify(await again.runs.chain(admin, run.id))), JSON.parse(JSON.stringify(chain)))
  assert.equal((await again.agents.get(admin, agent)).name, 'triage')
  await assert.rejects(again.context(acme.tenant, 'usr_00000000000070000000000000000000'), NotFoundError)
})

test('another tenant sees nothing, and a viewer runs nothing', LIMIT, async (t) => {
  const platform = await open(t, { tools: [find], models: [asks()] })
  const { acme, agent, run } = await mainJob(platform)
  const stranger = await builder(platform, 'globex')
  const viewer = await acme.user('vic', 'agent_viewer')
  await assert.rejects(platform.agents.get(stranger, agent), { name: 'NotFoundError', operation: 'agents.get', retryable: false })
  await assert.rejects(async () => { await platform.agents.get(stranger, agent) }, (error) => {
    assert.match(error.stack, /^NotFoundError: .*\n[^]*at async .*scenarios\.test/, 'the stack says who called')
    return true
  })
  await assert.rejects(platform.runs.get(stranger, run), NotFoundError)
  await assert.rejects(platform.runs.events(stranger, run).next(), NotFoundError)
  await assert.rejects(platform.runs.cancel(stranger, run), NotFoundError)
  await assert.rejects(platform.runs.start(stranger, agent, 'hello'), NotFoundError)
  await assert.rejects(platform.runs.start(viewer, agent, 'hello'), PermissionDeniedError)
  await assert.rejects(platform.runs.start(viewer, agent, 'hello'), { operation: 'runs.start', httpStatus: 403 })
  assert.deepEqual([viewer.can('agents:run'), viewer.can('agents:read')], [false, true])
  const other = await open(t, {})
  await assert.rejects(other.agents.get(viewer, agent), { name: 'ForeignContextError' })
})

test('an approval is bound to the arguments', LIMIT, async (t) => {
  const paid = []
  const pay = tool({ name: 'pay', approval: 'always', parameters: ID }, ({ id }) => void paid.push(id))
  const platform = await open(t, { tools: [pay], models: [calls('pay', { id: '7' }), ] })
  const acme = await home(platform)
  const ctx = await acme.user('ada', 'agent_manager')
  const agent = await deployed(platform, ctx, { tools: [pay] })
  const run = await platform.runs.start(ctx, agent, 'pay')
  const asked = later()
  const watching = (async () => {
    for await (const event of run) if (event.event === 'approval_requested') asked.resolve(event)
  })()
  const { approval, argsHash, tool: name } = await asked.promise
  assert.equal(name, 'pay')
  assert.deepEqual(paid, [])
  await assert.rejects(platform.runs.approve(acme.admin, run, { approval, argsHash: '0'.repeat(64), answer: 'approve' }), ConflictError)
  await platform.runs.approve(acme.admin, run, { approval, argsHash, answer: 'approve' })
  assert.equal((await run.wait()).text, 'done')
  await watching
  assert.deepEqual(paid, ['7'])
})

test('a denied call is told to the model', LIMIT, async (t) => {
  const pay = tool({ name: 'pay', approval: 'always' }, () => assert.fail('it was called'))
  const platform = await open(t, { tools: [pay], models: [calls('pay')] })
  const acme = await home(platform)
  const ctx = await acme.user('ada', 'agent_manager')
  const run = await platform.runs.start(ctx, await deployed(platform, ctx, { tools: [pay] }), 'pay')
  for await (const event of run) {
    if (event.event === 'approval_requested') {
      const { approval, argsHash } = event
      await platform.runs.approve(acme.admin, run, { approval, argsHash, answer: 'deny' })
    }
  }
  const { chain, text } = await run.wait()
  assert.equal(text, 'done')
  assert.deepEqual(chain.steps.map(({ kind }) => kind), ['model', 'model'])
})

test('a run is cancelled in the middle of a tool, which is told', LIMIT, async (t) => {
  const begun = later()
  const told = later()
  const slow = tool({ name: 'slow' }, async (_, { signal }) => {
    begun.resolve()
    await new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        told.resolve(signal.reason)
        reject(signal.reason)
      })
    })
  })
  const platform = await open(t, { tools: [slow], models: [calls('slow')] })
  const ctx = await builder(platform)
  const run = await platform.runs.start(ctx, await deployed(platform, ctx, { tools: [slow] }), 'go')
  await begun.promise
  await run.cancel()
  assert.ok((await told.promise) instanceof CancelledError)
  const outcome = await run.wait()
  assert.equal(outcome.status, 'cancelled')
  assert.throws(() => outcome.text, CancelledError)
  assert.ok(outcome.error instanceof CancelledError)
  await assert.rejects(run.cancel(), ConflictError)
})

test('a budget refuses what it has no room for', LIMIT, async (t) => {
  const stalls = new ScriptedModel('m', [{ stall: 'thinking' }, { stall: 'thinking' }], { price: PRICE })
  const unpriced = model({ name: 'unpriced' }, () => 'x')
  const platform = await open(t, { models: [stalls, unpriced] })
  const ctx = await builder(platform)
  // A call that is given up is paid for as far as it came, so the total leaves room for more than one run.
  const budget = { perRun: { costUsd: '0.05' }, total: { costUsd: '0.09' } }
  const agent = await deployed(platform, ctx, { budget })
  const run = await platform.runs.start(ctx, agent, 'go')
  await assert.rejects(platform.runs.start(ctx, agent, 'go'), BudgetExceededError)
  await run.cancel()
  assert.equal((await run.wait()).status, 'cancelled')
  assert.equal((await (await platform.runs.start(ctx, agent, 'go')).cancel()), null)
  await assert.rejects(deployed(platform, ctx, { name: 'b', model: unpriced, budget }), { name: 'PriceUnknownError' })
})

test('a session remembers, one turn at a time, and is its user\'s own', LIMIT, async (t) => {
  const heard = []
  const parrot = model({ name: 'm' }, (request) => {
    heard.push(request.messages.filter(({ role }) => role !== 'system').length)
    return `turn ${heard.length}`
  })
  const platform = await open(t, { models: [parrot] })
  const acme = await home(platform)
  const ada = await acme.user('ada', 'agent_manager')
  const bob = await acme.user('bob', 'agent_manager')
  const agent = await deployed(platform, ada, {})
  const session = await platform.sessions.open(ada, agent)
  const first = await session.send('hello')
  assert.equal((await first.wait()).text, 'turn 1')
  assert.equal((await (await session.send('again')).wait()).text, 'turn 2')
  assert.deepEqual(heard, [1, 3])
  await assert.rejects(platform.sessions.get(bob, session), NotFoundError)
  await assert.rejects(platform.runs.start(bob, agent, 'what did she say?', { session }), NotFoundError)
  assert.equal((await platform.sessions.get(ada, session.id)).record.agent, agent.id)
  assert.equal((await platform.sessions.list(ada)).items.length, 1)
})

test('what a transactional tool writes commits with its step, or not at all', LIMIT, async (t) => {
  const book = tool({ name: 'book', effect: 'transactional', parameters: { type: 'object' } }, async ({ fail }, { tx, idempotencyKey }) => {
    if (!ON_SERVER) await tx.execute('CREATE TABLE IF NOT EXISTS bookings (tenant_id BLOB, what TEXT, seal BLOB)')
    const changed = await tx.execute('INSERT INTO bookings (tenant_id, what, seal) VALUES ($1, $2, $3)',
      [fail ? 'lost' : 'kept', Buffer.from([1, 2, 255])])
    if (fail) throw new Error('no seats left')
    const rows = await tx.query('SELECT what, seal FROM bookings WHERE tenant_id = $1 ORDER BY what')
    return { changed, rows: rows.map(([what, seal]) => [what, [...seal]]), key: idempotencyKey.length > 0 }
  })
  const other = tool({ name: 'other' }, (_, { tx }) => tx.query('SELECT 1'))
  const script = new ScriptedModel('m', [
    { tools: [['book', { fail: true }]] }, { tools: [['book', { fail: false }]] }, { tools: [['other', {}]] }, 'done',
  ])
  const store = storeIn(folder(t), `CREATE TABLE public.bookings (tenant_id uuid, what text, seal bytea);
    GRANT ALL ON public.bookings TO agentprovision_app`)
  const platform = await open(t, { store, tools: [book, other], models: [script] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, { tools: [book, other] })
  const { chain, text } = await (await platform.runs.start(ctx, agent, 'go')).wait()
  assert.equal(text, 'done')
  assert.deepEqual(chain.steps.map(({ name, error }) => [name, error?.kind, error?.message]), [
    ['m', undefined, undefined],
    ['book', 'internal', 'no seats left'],
    ['m', undefined, undefined],
    ['book', undefined, undefined],
    ['m', undefined, undefined],
    ['other', 'unsupported', 'only a transactional tool has a transaction'],
    ['m', undefined, undefined],
  ])
})

test('the same key starts the same run, and a place goes on where it was', LIMIT, async (t) => {
  const platform = await open(t, { tools: [find], models: [asks()] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, { tools: [find] })
  const options = { idempotencyKey: 'ticket-77', onBehalfOf: 'somebody' }
  const run = await platform.runs.start(ctx, agent, 'Where?', options)
  assert.equal((await platform.runs.start(ctx, agent, 'Where?', options)).id, run.id)
  await assert.rejects(platform.runs.start(ctx, agent, 'Else?', options), { name: 'IdempotencyMismatchError', httpStatus: 409 })
  const all = []
  for await (const event of run) all.push(event)
  for (const [index, { cursor }] of all.entries()) {
    const rest = []
    for await (const event of platform.runs.events(ctx, run, { after: cursor })) rest.push(event)
    assert.deepEqual(rest.map(String), all.slice(index + 1).map(String))
  }
  assert.equal((await run.record()).onBehalfOf, 'somebody')
  const found = []
  for await (const record of platform.runs.iterate(ctx, { agent, status: 'completed', limit: 1 })) found.push(record.id)
  assert.deepEqual(found, [run.id])
})

test('keys authenticate, with their scopes, and print nowhere', LIMIT, async (t) => {
  const platform = await open(t, {
    store: storeIn(folder(t)), pepperEnv: 'TEST_PEPPER', secrets: { TEST_PEPPER: 'a pepper of enough bytes' },
  })
  const ctx = await builder(platform)
  const made = await platform.keys.create(ctx, { name: 'bot', scopes: ['agents:run', 'runs:read'] })
  assert.match(made.secret, /^apk_/)
  const { inspect } = require('node:util')
  assert.ok(!inspect(made).includes(made.secret) && !JSON.stringify(made).includes(made.secret))
  const limited = await platform.authenticate(made.secret, { ipAddress: '127.0.0.1' })
  assert.deepEqual([limited.can('agents:run'), limited.can('agents:create')], [true, false])
  assert.equal(limited.key, made.record.id)
  assert.ok(!inspect(limited, { depth: 9, showHidden: true }).includes(made.secret))
  await platform.keys.revoke(ctx, made.record)
  await assert.rejects(platform.authenticate(made.secret), { name: 'UnauthenticatedError' })
  await assert.rejects(platform.authenticate('apk_nonsense'), (error) => !error.message.includes('nonsense'))
})

test('an output schema gives a value', LIMIT, async (t) => {
  const models = [new ScriptedModel('m', ['{"label":"bug"}'])]
  const platform = await open(t, { models })
  const ctx = await builder(platform)
  const outputSchema = { type: 'object', properties: { label: { type: 'string' }, some_key: {} }, required: ['label'] }
  const agent = await deployed(platform, ctx, { inputSchema: { type: 'object' }, outputSchema })
  const run = await platform.runs.start(ctx, agent, { json: { camelCase: 1, snake_case: 2 } })
  assert.deepEqual((await run.wait()).output(), { label: 'bug' })
  const spec = await platform.agents.version(ctx, agent, agent.latest)
  assert.deepEqual(spec.outputSchema, outputSchema, 'the host\'s own keys are left alone')
})

test('events come to those who subscribe', LIMIT, async (t) => {
  const batches = []
  let failed = false
  const subscriber = (events) => {
    if (!failed) {
      failed = true
      throw new Error('not yet')
    }
    batches.push(...events)
  }
  const platform = await open(t, { subscribers: [subscriber] })
  const acme = await home(platform)
  const stream = platform.events.subscribe(acme.admin, { after: 0 })
  const types = []
  const ctx = await acme.user('ada', 'agent_manager')
  await platform.agents.create(ctx, { name: 'a', model: undefined }).catch(() => {})
  for await (const { event } of stream) {
    types.push(event.type)
    if (event.type === 'agentprovision.user.created' && types.filter((type) => type === event.type).length === 2) break
  }
  assert.deepEqual(await stream.next(), { done: true, value: undefined })
  await eventually('the subscriber has them', () => batches.length >= types.length)
  assert.deepEqual(batches.slice(0, types.length).map(({ event }) => event.type), types)
  assert.ok(batches[0].event.specversion, 'a CloudEvent keeps its own names')
})
