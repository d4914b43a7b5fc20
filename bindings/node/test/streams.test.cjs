'use strict'
// Streams, waits and signals: who stops what.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { Platform, tool, model, CancelledError, UnavailableError } = require('../index.cjs')
const { ScriptedModel } = require('../testing.cjs')
const { LIMIT, open, home, builder, deployed, eventually, later } = require('./support.cjs')

const stalls = () => new ScriptedModel('m', Array.from({ length: 20 }, () => ({ stall: 'thinking' })))

/** A platform whose runs begin to speak and never end. */
async function stalled(t) {
  const platform = await open(t, { models: [stalls()] })
  const ctx = await builder(platform)
  return { platform, ctx, agent: await deployed(platform, ctx, {}) }
}

const status = async (platform, ctx, run) => (await platform.runs.record(ctx, run)).status
const becomes = (platform, ctx, run, wanted) =>
  eventually(`the run is ${wanted}`, async () => (await status(platform, ctx, run)) === wanted)

test('ending a loop ends the stream at once and never the run', LIMIT, async (t) => {
  const { platform, ctx, agent } = await stalled(t)
  const run = await platform.runs.start(ctx, agent, 'go')
  await assert.rejects(async () => run.events({ after: 'nowhere' }).next(), { name: 'InvalidInputError', message: /`nowhere`/ })
  await assert.rejects(async () => run.events({ after: 5 }).next(), { name: 'InvalidInputError', message: /`after` is not text/ })
  await assert.rejects(async () => platform.runs.events(ctx, run, { after: 5 }).next(), { name: 'InvalidInputError', message: /`after`/ })
  await assert.rejects(async () => run.wait({ sginal: 1 }), { name: 'InvalidInputError', message: /`sginal`/ })
  for await (const event of run.events()) if (event.event === 'text') break
  const stream = run.events()
  await stream.next()
  await stream.next()
  await stream.next()
  const waiting = stream.next()
  assert.deepEqual(await stream.return('x'), { done: true, value: 'x' })
  assert.deepEqual(await waiting, { done: true, value: undefined })
  assert.deepEqual(await stream.next(), { done: true, value: undefined })
  const failing = run.events()
  await assert.rejects(failing.throw(new Error('mine')), /mine/)
  assert.equal(await status(platform, ctx, run), 'running')
  await run.cancel()
})

test('items asked for at the same time come in order', LIMIT, async (t) => {
  const platform = await open(t, { models: [new ScriptedModel('m', ['one two three'])] })
  const ctx = await builder(platform)
  const run = await platform.runs.start(ctx, await deployed(platform, ctx, {}), 'go')
  await run.wait()
  const stream = run.events()
  const items = await Promise.all(Array.from({ length: 8 }, () => stream.next()))
  const kinds = items.map(({ done, value }) => (done ? 'end' : value.event))
  assert.deepEqual(kinds, ['started', 'step_started', 'text', 'step_finished', 'finished', 'end', 'end', 'end'])
})

test('a signal ends a wait or a stream with its reason, and nothing else', LIMIT, async (t) => {
  const { platform, ctx, agent } = await stalled(t)
  const run = await platform.runs.start(ctx, agent, 'go')
  const reason = new Error('enough')
  for (const wait of [
    (signal) => run.wait({ signal }),
    async (signal) => { for await (const event of run.events({ signal })) void event },
    async (signal) => { for await (const event of platform.runs.events(ctx, run, { signal })) void event },
  ]) {
    const controller = new AbortController()
    const waiting = wait(controller.signal)
    setTimeout(() => controller.abort(reason), 30)
    await assert.rejects(waiting, reason)
    await assert.rejects(async () => wait(AbortSignal.abort(reason)), reason)
  }
  assert.equal(await status(platform, ctx, run), 'running')
  await run.cancel()
  assert.equal((await run.wait()).status, 'cancelled')
})

test('a signal given at the start cancels the run', LIMIT, async (t) => {
  const { platform, ctx, agent } = await stalled(t)
  const controller = new AbortController()
  const run = await platform.runs.start(ctx, agent, 'go', { signal: controller.signal })
  controller.abort()
  assert.equal((await run.wait()).status, 'cancelled')
  await assert.rejects(platform.runs.start(ctx, agent, 'go', { signal: controller.signal }), { name: 'AbortError' })

  const again = new AbortController()
  const stream = platform.runs.stream(ctx, agent, 'go', { signal: again.signal })
  const started = await stream.run
  await assert.rejects(async () => {
    for await (const event of stream) if (event.event === 'text') again.abort()
  }, { name: 'AbortError' })
  await becomes(platform, ctx, started, 'cancelled')
})

test('a signal at the start needs the right to cancel, and no other', LIMIT, async (t) => {
  const { platform, ctx, agent } = await stalled(t)
  const admin = (await home(platform, 'other')).admin
  const other = await deployed(platform, admin, {})
  const by = async (...scopes) => platform.authenticate((await platform.keys.create(admin, { name: 'k', scopes })).secret)
  const { signal } = new AbortController()
  const reads = await by('agents:run', 'agents:read', 'runs:read')
  const refused = { name: 'PermissionDeniedError', message: /`runs:cancel`/ }
  await assert.rejects(platform.runs.start(reads, other, 'go', { signal }), refused)
  await assert.rejects(platform.runs.stream(reads, other, 'go', { signal }).next(), refused)
  assert.deepEqual((await platform.runs.list(admin)).items, [])

  // Also when the watch of its end is refused first.
  const cancels = await by('agents:run', 'agents:read', 'runs:cancel')
  const controller = new AbortController()
  const run = await platform.runs.start(cancels, other, 'go', { signal: controller.signal })
  await assert.rejects(run.record(), { code: 'not_found' })
  controller.abort()
  await becomes(platform, admin, run, 'cancelled')

  // What goes wrong with it is said.
  const { once } = require('node:events')
  const denied = t.mock.method(platform.runs, 'cancel', async () => { throw new UnavailableError('not now') })
  const again = new AbortController()
  const left = await platform.runs.start(ctx, agent, 'go', { signal: again.signal })
  const warned = once(process, 'warning')
  again.abort()
  const [warning] = await warned
  assert.match(warning.message, new RegExp(`^the run \`${left.id}\` could not be cancelled by its signal: not now$`))
  denied.mock.restore()
  await left.cancel()
})

test('a signal that outlives its runs holds none of them', LIMIT, async (t) => {
  const { getEventListeners } = require('node:events')
  const platform = await open(t, { models: [new ScriptedModel('m', Array(20).fill('x'))] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, {})
  const { signal } = new AbortController()
  for (let turn = 0; turn < 5; turn += 1) {
    const run = await platform.runs.start(ctx, agent, 'go', { signal })
    for await (const event of run.events({ signal })) void event
    await run.wait({ signal })
  }
  await eventually('nothing listens', () => getEventListeners(signal, 'abort').length === 0)
})

test('a run that shall not outlive its watcher is cancelled when that goes', LIMIT, async (t) => {
  const { platform, ctx, agent } = await stalled(t)
  const start = () => platform.runs.start(ctx, agent, 'go', { onDisconnect: 'cancel' })
  const broken = await start()
  for await (const event of broken) if (event.event === 'text') break
  await becomes(platform, ctx, broken, 'cancelled')

  const aborted = await start()
  await assert.rejects(aborted.wait({ signal: AbortSignal.timeout(30) }), { name: 'TimeoutError' })
  await becomes(platform, ctx, aborted, 'cancelled')

  const streamed = platform.runs.stream(ctx, agent, 'go', { onDisconnect: 'cancel' })
  const run = await streamed.run
  await streamed.return()
  await becomes(platform, ctx, run, 'cancelled')

  const other = await start()
  const first = other.events()
  const second = other.events()
  await Promise.all([first.next(), second.next()])
  await first.return()
  await second.next()
  assert.equal(await status(platform, ctx, other), 'running')
  await second.return()
  await becomes(platform, ctx, other, 'cancelled')
})

test('a stream that is never asked starts nothing', LIMIT, async (t) => {
  const { platform, ctx, agent } = await stalled(t)
  const stream = platform.runs.stream(ctx, agent, 'go')
  await stream.return()
  assert.deepEqual(await stream.next(), { done: true, value: undefined })
  assert.deepEqual((await platform.runs.list(ctx)).items, [])
  const wrong = platform.runs.stream(ctx, 'nonsense', 'go')
  await assert.rejects(wrong.next(), { name: 'InvalidInputError' })
  assert.deepEqual(await wrong.next(), { done: true, value: undefined })
})

test('a model in JavaScript is told when its run is cancelled', LIMIT, async (t) => {
  const told = later()
  const ended = later()
  const slow = model({ name: 'm' }, async function* (_, { signal, ctx }) {
    try {
      yield ctx.user.slice(0, 4)
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    } catch (error) {
      told.resolve(error)
      throw error
    } finally {
      ended.resolve()
    }
  })
  const platform = await open(t, { models: [slow] })
  const ctx = await builder(platform)
  const run = await platform.runs.start(ctx, await deployed(platform, ctx, {}), 'go')
  for await (const event of run) {
    if (event.event === 'text') {
      assert.equal(event.text, 'usr_')
      await run.cancel()
    }
  }
  assert.ok((await told.promise) instanceof CancelledError)
  await ended.promise
})

test('a signal of a call that was answered never aborts', LIMIT, async (t) => {
  const signals = []
  const quick = (fails) => async (_, { signal }) => {
    signals.push(signal)
    await new Promise((resolve) => setTimeout(resolve, 5))
    if (fails) throw new Error('x')
    return 'done'
  }
  const tools = [tool({ name: 'good', parameters: { type: 'object' } }, quick(false)), tool({ name: 'bad', parameters: { type: 'object' } }, quick(true))]
  const script = new ScriptedModel('m', [{ tools: [['good', {}]] }, { tools: [['bad', {}]] }, 'done'])
  const platform = await open(t, { tools, models: [script] })
  const ctx = await builder(platform)
  await (await platform.runs.start(ctx, await deployed(platform, ctx, { tools }), 'go')).wait()
  await platform.close()
  assert.deepEqual(signals.map(({ aborted }) => aborted), [false, false])
})

test('an authorizer decides, and what it throws comes back as itself', LIMIT, async (t) => {
  const mine = Object.assign(new TypeError('the directory is down'), { extra: { deep: true } })
  let mode = 'default'
  const asked = []
  const authorizer = async ({ permission, resource, default: said }, { ctx }) => {
    asked.push([permission, resource.kind, said.allow, ctx.user.slice(0, 4)])
    switch (mode) {
      case 'throw':
        throw mine
      case 'deny':
        return { allow: false, reason: 'not on a Sunday' }
      case 'no':
        return false
      case 'yes':
        return true
      default:
        return undefined
    }
  }
  const platform = await open(t, { authorizer, models: [stalls()] })
  const acme = await home(platform)
  const ada = await acme.user('ada', 'agent_manager')
  const viewer = await acme.user('vic', 'agent_viewer')
  const agent = await deployed(platform, ada, {})
  assert.equal((await platform.agents.get(viewer, agent)).id, agent.id)
  assert.deepEqual(asked.at(-1), ['agents:read', 'agents', true, 'usr_'])
  mode = 'throw'
  for (let turn = 0; turn < 3; turn += 1) {
    await assert.rejects(platform.agents.get(ada, agent), (error) => {
      assert.equal(error, mine)
      assert.deepEqual(error.extra, { deep: true })
      return true
    })
  }
  mode = 'deny'
  await assert.rejects(platform.agents.create(ada, { name: 'b', model: 'm' }), { name: 'PermissionDeniedError', message: /not on a Sunday/ })
  mode = 'no'
  await assert.rejects(platform.agents.create(ada, { name: 'b', model: 'm' }), { name: 'PermissionDeniedError' })
  mode = 'yes'
  assert.equal((await platform.agents.create(viewer, { name: 'b', model: 'm' })).name, 'b')
})

test('exceptions are kept no longer than an error stands for them', LIMIT, async (t) => {
  const { Link } = require('../lib/link.cjs')
  const links = []
  const keep = Link.prototype.keep
  Link.prototype.keep = function (thrown) {
    if (!links.includes(this)) links.push(this)
    return keep.call(this, thrown)
  }
  t.after(() => { Link.prototype.keep = keep })
  const fails = tool({ name: 'fails', parameters: { type: 'object' } }, () => { throw new Error('always') })
  const replies = Array.from({ length: 20 }, (_, turn) => ({ tools: [['fails', { turn }]] }))
  const platform = await open(t, { tools: [fails], models: [new ScriptedModel('m', [...replies, 'done'])] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, { tools: [fails] })
  const outcome = await (await platform.runs.start(ctx, agent, 'go')).wait()
  assert.equal(outcome.chain.steps.filter(({ error }) => error?.message === 'always').length, 20)
  assert.equal(links.length, 1)
  await eventually('none is kept', () => links[0].kept === 0)
})

test('many platforms at once, each by itself', LIMIT, async () => {
  const platforms = await Promise.all(Array.from({ length: 12 }, () => Platform.open({ models: [new ScriptedModel('m', ['x'])] })))
  const texts = await Promise.all(platforms.map(async (platform) => {
    const ctx = await builder(platform)
    return (await (await platform.runs.start(ctx, await deployed(platform, ctx, {}), 'go')).wait()).text
  }))
  assert.deepEqual(texts, Array(12).fill('x'))
  await Promise.all(platforms.map((platform) => platform.close()))
})

test('a tool may call the platform it belongs to', LIMIT, async (t) => {
  let platform
  const inner = tool({ name: 'inner', parameters: { type: 'object' } }, async (_, { ctx, run }) => {
    return { status: (await platform.runs.record(ctx, run)).status }
  })
  const asks = model({ name: 'm' }, ({ messages }) => {
    const last = messages.at(-1)
    return last.role === 'tool' ? last.content : { toolCalls: [{ name: 'inner' }] }
  })
  platform = await open(t, { tools: [inner], models: [asks] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, { tools: [inner], capabilities: ['runs:read'] })
  assert.equal((await (await platform.runs.start(ctx, agent, 'go')).wait()).text, '{"status":"running"}')
})

test('a function the platform waits for does not close it', LIMIT, async (t) => {
  let platform
  const after = later()
  const closing = async () => {
    await null
    await platform.close()
  }
  const closes = tool({ name: 'closes', parameters: { type: 'object' } }, async (_, { signal }) => {
    // When the call is over, what it left behind may.
    setTimeout(() => eventually('it is over', () => over).then(closing).then(after.resolve, after.reject))
    const other = await Platform.open()
    await other.close()
    assert.equal(signal.aborted, false)
    await closing()
  })
  let over = false
  platform = await Platform.open({ tools: [closes], models: [new ScriptedModel('m', [{ tools: [['closes', {}]] }, 'done'])] })
  t.after(() => platform.close())
  const ctx = await builder(platform)
  const { chain, text } = await (await platform.runs.start(ctx, await deployed(platform, ctx, { tools: [closes] }), 'go')).wait()
  assert.equal(text, 'done')
  assert.equal(chain.steps[1].error.kind, 'conflict')
  assert.match(chain.steps[1].error.message, /not closed within a function/)
  over = true
  await after.promise
  await assert.rejects(async () => platform.operator('ops', 'late'), { code: 'closed' })
})

test('a schema checks, converts, and describes itself', LIMIT, async (t) => {
  const { z } = await import('zod')
  const seen = []
  const zod = tool({ name: 'zod', schema: z.object({ id: z.coerce.number().describe('the number'), size: z.enum(['s', 'l']).default('s') }) },
    (args) => { seen.push(args) })
  const beside = tool({
    name: 'beside', schema: { schema: { type: 'object' }, parse: (value) => ({ ...value, parsed: true }) },
  }, (args) => { seen.push(args) })
  const safe = tool({
    name: 'safe',
    schema: { schema: { type: 'object' }, safeParse: () => ({ success: false, error: { issues: [{ message: 'too odd', path: ['a', 0] }] } }) },
  }, () => assert.fail('it was called'))
  assert.deepEqual(zod.spec.inputSchema.properties.id, { type: 'number', description: 'the number' })
  const script = new ScriptedModel('m', [
    { tools: [['zod', { id: 5 }]] }, { tools: [['beside', { a: 1 }]] }, { tools: [['safe', {}]] }, 'done',
  ])
  const tools = [zod, beside, safe]
  const platform = await open(t, { tools, models: [script] })
  const ctx = await builder(platform)
  const { chain } = await (await platform.runs.start(ctx, await deployed(platform, ctx, { tools }), 'go')).wait()
  assert.deepEqual(seen, [{ id: 5, size: 's' }, { a: 1, parsed: true }])
  assert.deepEqual([chain.steps[5].error.kind, chain.steps[5].error.message], ['invalid_input', 'the arguments do not match: too odd at `a.0`'])
})
