'use strict'
// Every bad input has its error: the right kind, naming what is wrong; never a crash, a hang or a value that was changed.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { Platform, tool, model, InvalidInputError, NotFoundError, RateLimitedError, UnsupportedError } = require('../index.cjs')
const { ScriptedModel, ManualClock } = require('../testing.cjs')
const { encode, decode } = require('../lib/json.cjs')
const { toRecord } = require('../lib/errors.cjs')
const { LIMIT, PRICE, ID, open, home, builder, deployed, calls } = require('./support.cjs')

/** Calls that are refused as invalid input, each with what the message says. */
async function refused(cases) {
  for (const [call, says] of cases) {
    await assert.rejects(async () => call(), (error) => {
      assert.ok(error instanceof InvalidInputError, `${call}: ${error.stack}`)
      assert.match(error.message, says)
      return true
    })
  }
}

test('what a platform is opened with', LIMIT, async () => {
  await refused([
    [() => new Platform(), /Platform\.open/],
    [() => Platform.open(7), /its options as an object/],
    [() => Platform.open(null), /its options as an object/],
    [() => Platform.open({ stroe: 'memory://' }), /unknown field `stroe`.*did you mean `store`\?/],
    [() => Platform.open({ engine: { leseMs: 5 } }), /did you mean `leaseMs`\?/],
    [() => Platform.open({ engine: { leaseMs: 0 } }), /leaseMs/],
    [() => Platform.open({ engine: { leaseMs: 'soon' } }), /invalid type: string/],
    [() => Platform.open({ engine: { leaseMs: 500, lease_ms: 600 } }), /`lease_ms` is given twice, also as `leaseMs`/],
    [() => Platform.open({ engine: { lease_ms: 500, leaseMs: 600 } }), /`leaseMs` is given twice, also as `lease_ms`/],
    [() => Platform.open({ store: 5 }), /`store`.*expected a string/],
    [() => Platform.open('mysql://x'), /sqlite/],
    [() => Platform.open({ providers: ['openia'] }), /unknown variant `openia`/],
    [() => Platform.open({ providers: [{ type: 'openai', keyEnv: 'NOT_SET_ANYWHERE' }] }), /NOT_SET_ANYWHERE/],
    [() => Platform.open({ secrets: { KEY: 123456789 } }), /^`secrets\.KEY` is not text$/],
    [() => Platform.open({ secrets: { KEY: ['123456789'] } }), /^`secrets\.KEY` is not text$/],
    [() => Platform.open({ secrets: 'KEY=123456789' }), /^`secrets` is not an object of texts$/],
    [() => Platform.open({ secrets: null }), /^`secrets` is not an object of texts$/],
    [() => Platform.open({ tools: {} }), /`tools` is not an array/],
    [() => Platform.open({ tools: [() => 1] }), /`tools\[0\]` is not `tool\(…\)`/],
    [() => Platform.open({ models: ['gpt'] }), /`models\[0\]`/],
    [() => Platform.open({ subscribers: [1] }), /`subscribers\[0\]`/],
    [() => Platform.open({ authorizer: true }), /`authorizer`/],
    [() => Platform.open({ clock: new Date() }), /`clock`/],
    [() => Platform.open({ tools: [tool({ name: 'no spaces' }, () => 1)] }), /`no spaces` is not a tool name/],
    [() => Platform.open({ tools: [tool({ name: 'x', efect: 'pure' }, () => 1)] }), /did you mean `effect`\?/],
    [() => Platform.open({ tools: [tool({ name: 'x', timeoutMs: -1 }, () => 1)] }), /timeoutMs/],
    [() => Platform.open({ tools: [tool({ name: 'x', parameters: { type: 'string' } }, () => 1)] }), /not of type `object`/],
    [() => Platform.open({ models: [model({ name: 'x', price: { input: 0.5, output: '1' } }, () => '')] }), /price/],
    [() => new ManualClock({ start: 'yesterday' }), /yesterday/],
    [() => new ManualClock({ start: '2026-01-01T00:00:00Z' }).advance(NaN), /milliseconds/],
    [() => new ScriptedModel('m', [{ txt: 'x' }]) && Platform.open({ models: [new ScriptedModel('m', [{ txt: 'x' }])] }), /`txt`/],
  ])
  const one = tool({ name: 'same' }, () => 1)
  await assert.rejects(Platform.open({ tools: [one, one] }), { name: 'AlreadyExistsError' })
})

test('what tools and models are made of', LIMIT, async () => {
  await refused([
    [() => tool(), /described by an object/],
    [() => tool('x', () => 1), /described by an object/],
    [() => tool({ name: 'x' }), /a function/],
    [() => tool({}, () => 1), /`name`/],
    [() => tool({ name: 'x', schema: {}, parameters: {} }, () => 1), /not both/],
    [() => tool({ name: 'x', schema: 'object' }, () => 1), /JSON Schema/],
    [() => tool({ name: 'x', schema: { parse: (value) => value } }, () => 1), /give one beside it/],
    [() => model({ name: 'x' }), /a function/],
    [() => model({}, () => ''), /`name`/],
    [() => new ScriptedModel('m', 'x'), /array of replies/],
  ])
})

test('arguments of operations', LIMIT, async (t) => {
  const platform = await open(t, { models: [new ScriptedModel('m', ['x'])] })
  const { operator, tenant, admin, root } = await home(platform)
  const agent = await deployed(platform, admin, {})
  const circular = { a: [1] }
  circular.a.push(circular)
  let deep = {}
  for (let depth = 0; depth < 5_000; depth += 1) deep = { deep }
  const tenants = (settings) => () => platform.tenants.create(operator, { name: 'x', settings })
  await refused([
    [() => platform.agents.get(), /takes a context first/],
    [() => platform.agents.get({}, agent), /takes a context first/],
    [() => platform.agents.get(admin), /missing field `agent`/],
    [() => platform.agents.get(admin, undefined), /missing field `agent`/],
    [() => platform.agents.get(admin, null), /`agent`/],
    [() => platform.agents.get(admin, 7), /`agent`/],
    [() => platform.agents.get(admin, 'nonsense'), /`nonsense`/],
    [() => platform.agents.get(admin, tenant), /ten_/],
    [() => platform.agents.get(operator, agent), /`agents.get` is called with a tenant's context/],
    [() => platform.tenants.get(admin, tenant), /operator's context/],
    [() => platform.agents.create(admin, undefined), /missing field `name`|name/],
    [() => platform.agents.create(admin, 'agent'), /takes an object|object here/],
    [() => platform.agents.create(admin, { name: 'a', modle: 'm' }), /did you mean `model`\?/],
    [() => platform.agents.create(admin, { name: 'a', budget: { perRun: { costUsd: 0.05 } } }), /costUsd/],
    [() => platform.agents.list(admin, { limt: 1 }), /did you mean `limit`\?/],
    [() => platform.agents.list(admin, 5), /takes an object here/],
    [() => platform.agents.list(admin, { limit: 1.5 }), /limit/],
    [() => platform.runs.start(admin, agent), /missing field `input`/],
    [() => platform.runs.start(admin, agent, undefined), /missing field `input`/],
    [() => platform.runs.start(admin, agent, 5), /input/],
    [() => platform.runs.start(admin, agent, 'x', { idempotency: 'k' }), /did you mean `idempotencyKey`\?/],
    [() => platform.runs.start(admin, agent, 'x', { onDisconnect: 'stop' }), /unknown variant `stop`/],
    [() => platform.runs.start(admin, agent, 'x', { deadline: 'soon' }), /soon/],
    [() => platform.runs.start(admin, agent, 'x', { deadline: new Date('soon') }), /`deadline` is an invalid Date/],
    [() => platform.runs.start(admin, agent, { json: [{ at: new Date(NaN) }] }), /`input\.json\[0\]\.at` is an invalid Date/],
    [() => platform.keys.create(admin, { name: 'k', expiresAt: new Date('never') }), /`expiresAt` is an invalid Date/],
    [() => platform.runs.list(admin, { idempotencyKey: 'a', idempotency_key: 'b' }), /`idempotency_key` is given twice, also as `idempotencyKey`/],
    [() => platform.runs.list(admin, { idempotency_key: 'a', idempotencyKey: 'b' }), /`idempotencyKey` is given twice, also as `idempotency_key`/],
    [() => platform.runs.start(admin, agent, 'lone \ud800 surrogate'), /surrogate/],
    [() => platform.context(tenant, 'lone \udc00'), /surrogate/],
    [() => platform.operator('lone \ud800', 'x'), /surrogate/],
    [() => platform.operator('', 'x'), /actor/],
    [() => platform.operator('x'), /missing field `reason`/],
    [() => platform.context(tenant, root, { deadlin: 'x' }), /did you mean `deadline`\?/],
    [() => platform.authenticate(), /missing field `apiKey`/],
    [() => platform.authenticate(123456789), /^`apiKey` is not text$/],
    [() => platform.authenticate({ key: '123456789' }), /^`apiKey` is not text$/],
    [() => platform.authenticate(null), /^`apiKey` is not text$/],
    [() => admin.can('agents:rum'), /did you mean `agents:run`\?/],
    [() => admin.can(), /a permission is text/],
    [() => admin.can(5), /a permission is text/],
    [() => platform.runs.events(admin, 'run_x').next(), /run_x/],
    [() => platform.runs.events(admin, 'run_x', { aftr: 1 }), /unknown option `aftr`; there are `after` and `signal`/],
    [() => platform.events.subscribe(admin, 5), /options are an object/],
    [() => platform.runs.start(admin, agent, 'x', { signal: new AbortController() }), /`signal` is not an AbortSignal/],
    [() => platform.audit.prove(admin, { seq: 2 ** 53, size: 1 }), /`seq` is an integer beyond 2\^53/],
    [() => platform.audit.prove(admin, { seq: -1, size: 1 }), /seq/],
    [() => platform.tenants.create(operator, { name: 'x', domain: 'per_run.my_shop' }), /^`per_run\.my_shop` is not a domain/],
    [tenants({ big: 2 ** 53 }), /`settings\.big` is an integer beyond 2\^53/],
    [tenants({ big: -(2 ** 53) }), /`settings\.big` is an integer beyond 2\^53/],
    [tenants({ list: [1, 2n] }), /`settings\.list\[1\]` is a BigInt/],
    [tenants({ when: { x: () => 1 } }), /`settings\.when\.x` is a function/],
    [tenants({ s: Symbol('x') }), /`settings\.s` is a symbol/],
    [tenants({ n: NaN }), /`settings\.n` is NaN/],
    [tenants({ n: [1, -Infinity] }), /`settings\.n\[1\]` is -Infinity/],
    [tenants({ list: [1, undefined] }), /`settings\.list\[1\]` is undefined/],
    [tenants({ list: [1, , 3] }), /`settings\.list\[1\]` is undefined/],
    [tenants({ map: new Map() }), /`settings\.map` is a Map/],
    [tenants({ soon: Promise.resolve(1) }), /`settings\.soon` is a Promise/],
    [tenants({ bytes: Buffer.from('x') }), /`settings\.bytes` is a Buffer/],
    [tenants({ bytes: [new Float64Array(1)] }), /`settings\.bytes\[0\]` is a Float64Array/],
    [tenants({ bytes: new DataView(new ArrayBuffer(1)) }), /`settings\.bytes` is a DataView/],
    [tenants({ when: new Date('never') }), /`settings\.when` is an invalid Date/],
    [tenants({ bytes: Buffer.from('x').buffer }), /`settings\.bytes` is a ArrayBuffer/],
    [tenants(circular), /contains itself/],
    [tenants(deep), /nested deeper/],
    [tenants({ 'lone \ud800': 1 }), /surrogate/],
  ])
  await assert.rejects(platform.runs.start(admin, agent, 'x'.repeat(5 << 20)), { name: 'TooLargeError', httpStatus: 413 })
  await assert.rejects(platform.agents.get(admin, 'agt_00000000000070000000000000000000'), NotFoundError)
  await assert.rejects(platform.agents.get(admin, 'x'.repeat(1 << 24)), (error) => error.message.length < 2_000)
})

test('what is the host\'s own is left as it is', LIMIT, async (t) => {
  const platform = await open(t, {})
  const operator = platform.operator('ops', 'test')
  const settings = {
    snake_case: 1, camelCase: { inner_key: 2 }, 'with space': null, nested: [{ created_at: 'x' }], '': '', emoji: '👍\u0001',
    max: Number.MAX_SAFE_INTEGER, min: Number.MIN_SAFE_INTEGER, float: 0.1, exponent: 1e300, when: new Date(0), gone: undefined,
    zero: -0,
  }
  Object.defineProperty(settings, '__proto__', { value: { polluted: true }, enumerable: true })
  const tenant = await platform.tenants.create(operator, { name: 'x', settings })
  const again = await platform.tenants.get(operator, tenant)
  assert.equal(again.settings.when, '1970-01-01T00:00:00.000Z')
  assert.ok(!('gone' in again.settings))
  assert.equal({}.polluted, undefined)
  assert.deepEqual(Object.getOwnPropertyDescriptor(again.settings, '__proto__').value, { polluted: true })
  for (const key of ['snake_case', 'camelCase', 'with space', 'nested', '', 'emoji', 'max', 'min', 'float', 'exponent']) {
    assert.deepEqual(again.settings[key], settings[key], key)
  }
})

test('answers with integers that a number does not hold are refused', LIMIT, () => {
  for (const [text, path] of [
    ['9007199254740993', '\\.'], ['{"a":{"b":[1,-9007199254740993]}}', 'a\\.b\\[1\\]'], ['[12345678901234567890]', '\\[0\\]'],
  ]) {
    assert.throws(() => decode(text, undefined, 'the answer'), (error) => {
      assert.ok(error instanceof UnsupportedError)
      assert.match(error.message, new RegExp(`^the answer has an integer beyond 2\\^53 at \`${path}\``))
      return true
    })
  }
  for (const text of ['9007199254740991', '"12345678901234567890"', '0.12345678901234567', '[1e300,9007199254740991]', '{"12345678901234567":1}']) {
    assert.deepEqual(decode(text, undefined, 'the answer'), JSON.parse(text))
  }
  assert.equal(encode({ a: 1e300, b: [2 ** 53 - 1] }), '{"a":1e+300,"b":[9007199254740991]}')
})

/** How a run's only tool call ended. */
async function toolCall(t, run, args = {}, definition = {}) {
  const made = tool({ name: 'it', effect: 'pure', parameters: { type: 'object' }, ...definition }, run)
  const platform = await open(t, { tools: [made], models: [calls('it', args)] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, { tools: [made] })
  const { chain, text } = await (await platform.runs.start(ctx, agent, 'go')).wait()
  assert.equal(text, 'done')
  return chain.steps[1]
}

test('a tool that fails fails its call, with its kind and its words', LIMIT, async (t) => {
  const timeout = Object.assign(new Error('too late'), { name: 'TimeoutError' })
  for (const [run, kind, message] of [
    [() => { throw new Error('no such order') }, 'internal', 'no such order'],
    [async () => { throw new NotFoundError('no order `7`') }, 'not_found', 'no order `7`'],
    [() => { throw new RangeError('out of range') }, 'internal', 'out of range'],
    [() => { throw new DOMException('given up', 'AbortError') }, 'cancelled', 'given up'],
    [() => { throw timeout }, 'deadline_exceeded', 'too late'],
    [() => { throw 'a text' }, 'internal', 'a text'],
    [() => { throw undefined }, 'internal', 'undefined was thrown'],
    [() => { throw { secret: 'x' } }, 'internal', 'an object of Object was thrown'],
    [() => { throw { get message() { throw new Error('x') }, get constructor() { throw new Error('y') } } }, 'internal', /cannot be read/],
    [() => { throw new Proxy({}, { get() { throw new Error('x') }, getPrototypeOf() { throw new Error('x') } }) }, 'internal', /cannot be read/],
    [() => { throw Object.assign(new NotFoundError('x'), { code: 'constructor', retryAfter: 'soon', operation: 5n }) }, 'internal', 'x'],
    [(_, { tx }) => tx.execute('SELECT 1', 'x'), 'invalid_input', /parameters of a statement are an array/],
    ...[{ $bytes: 'eA==' }, [1], new Date(0), new Map(), 1n, undefined, new ArrayBuffer(1), new Float64Array(1)].map((value) => (
      [(_, { tx }) => tx.query('SELECT 1', [1, value]), 'invalid_input', /^parameter \$3 is not null, a boolean/]
    )),
    [() => Promise.reject(new Error('lone \ud800')), 'internal', 'lone \ufffd'],
    [() => new Map(), 'invalid_input', /Map/],
    [() => 1n, 'invalid_input', /BigInt/],
    [() => NaN, 'invalid_input', /NaN/],
    [() => ({ f() {} }), 'invalid_input', /\.f` is a function/],
    [() => 2 ** 60, 'invalid_input', /beyond 2\^53/],
    [() => 'lone \ud800', 'invalid_input', /surrogate/],
    [() => { const a = []; a.push(a); return a }, 'invalid_input', /contains itself/],
  ]) {
    const { success, error } = await toolCall(t, run)
    assert.equal(success, false)
    assert.equal(error.kind, kind, `${run}: ${error.message}`)
    if (message instanceof RegExp) assert.match(error.message, message)
    else assert.equal(error.message, message)
  }
})

test('a tool that gives nothing gives null', LIMIT, async (t) => {
  assert.equal((await toolCall(t, () => {})).success, true)
})

test('a tool with arguments that a number does not hold is not called', LIMIT, async (t) => {
  const said = '{"ids":[1,9007199254740993]}'
  const asks = model({ name: 'm', price: PRICE }, ({ messages }) => {
    const last = messages.at(-1)
    return last.role === 'tool' ? last.content : { toolCalls: [{ name: 'it', arguments: said }] }
  })
  const made = tool({ name: 'it', parameters: { type: 'object' } }, () => assert.fail('it was called'))
  const platform = await open(t, { tools: [made], models: [asks] })
  const ctx = await builder(platform)
  const { chain, text } = await (await platform.runs.start(ctx, await deployed(platform, ctx, { tools: [made] }), 'go')).wait()
  assert.equal(chain.steps[1].error.kind, 'invalid_input')
  assert.match(text, /integer beyond 2\^53 at `ids\[1\]`/)
})

test('a tool\'s arguments match its schema', LIMIT, async (t) => {
  const { error } = await toolCall(t, () => assert.fail('it was called'), { id: 7 }, { parameters: ID })
  assert.equal(error.kind, 'invalid_input')
  assert.match(error.message, /`\/id`/)
})

test('a tool that takes too long is given up, and told', LIMIT, async (t) => {
  let aborted
  const { error } = await toolCall(t, (_, { signal }) => new Promise(() => {
    signal.addEventListener('abort', () => { aborted = true })
  }), {}, { timeoutMs: 50 })
  assert.equal(error.kind, 'deadline_exceeded')
  assert.equal(aborted, true)
})

test('a tool that blocks the loop holds up JavaScript, and loses no run', LIMIT, async (t) => {
  const made = tool({ name: 'it', parameters: { type: 'object' } }, () => {
    const end = Date.now() + 2_000
    while (Date.now() < end);
    return 'late'
  })
  const platform = await open(t, { engine: { leaseMs: 1_000, pollMs: 20 }, tools: [made], models: [calls('it')] })
  const ctx = await builder(platform)
  const run = await platform.runs.start(ctx, await deployed(platform, ctx, { tools: [made] }), 'go')
  const { chain, text } = await run.wait()
  assert.equal(text, 'done')
  assert.deepEqual([chain.steps[1].attempts, chain.steps[1].success], [1, true])
})

test('what a function throws is recorded by its table', LIMIT, () => {
  const ours = new RateLimitedError('later', { retryable: true, retryAfter: 2 })
  for (const role of ['tool', 'model', 'authorizer', 'subscriber']) {
    const { code, message, retryable, retry_after_ms: after } = toRecord(ours, role)
    assert.deepEqual([code, message, retryable, after], ['rate_limited', 'later', true, 2_000])
    const alien = Object.assign(new TypeError('sk-1'), { code: 'not_found', retryable: true, retryAfter: 5 })
    const said = role === 'tool' ? 'sk-1' : `the host's ${role} failed: TypeError`
    assert.deepEqual(toRecord(alien, role), { code: 'internal', message: said, retryable: false, retry_after_ms: null, operation: null })
  }
})

test('a model that fails, or answers with what is no answer', LIMIT, async (t) => {
  for (const [run, kind, says] of [
    [() => { throw new Error('the key is sk-1') }, 'internal', /^the host's model failed: Error$/],
    [() => { throw new (class HttpError extends Error {})('the key is sk-1') }, 'internal', /^the host's model failed: HttpError$/],
    [() => { throw new ({ 'the key is sk-1': class extends Error {} })['the key is sk-1']() }, 'internal', /^the host's model failed: Error$/],
    [() => { throw 'the key is sk-1' }, 'internal', /^the host's model failed: string was thrown$/],
    [() => { throw new DOMException('of sk-1', 'TimeoutError') }, 'deadline_exceeded', /^the host's model failed: DOMException$/],
    [async function* () { yield 'a'; throw new NotFoundError('gone') }, 'not_found', /gone/],
    [() => 5, 'invalid_input', /the answer of the model `m`/],
    [() => ({ txt: 'x' }), 'invalid_input', /did you mean `text`\?/],
    [async function* () { yield { type: 'txt' } }, 'invalid_input', /txt/],
    [async function* () { yield 5n }, 'invalid_input', /BigInt/],
  ]) {
    const platform = await open(t, { models: [model({ name: 'm' }, run)] })
    const ctx = await builder(platform)
    const outcome = await (await platform.runs.start(ctx, await deployed(platform, ctx, {}), 'go')).wait()
    assert.equal(outcome.status, 'failed')
    assert.equal(outcome.error.code, kind, `${run}: ${outcome.error.message}`)
    assert.match(outcome.error.message, says)
  }
})
