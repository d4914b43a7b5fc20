'use strict'
// Models without an agent.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { Platform, UnavailableError, NotFoundError, InvalidInputError, PermissionDeniedError } = require('../index.cjs')
const { ScriptedModel } = require('../testing.cjs')
const { LIMIT, PRICE, folder, storeIn, open, home } = require('./support.cjs')

const scripted = (name, ...replies) => new ScriptedModel(name, replies, { price: PRICE })
const down = { fail: { code: 'unavailable', message: 'down' } }

test('an answer has what was spent, and it is counted', LIMIT, async (t) => {
  for (const store of ['memory://', storeIn(folder(t))]) {
    const model = scripted('m', down, 'On its way.')
    const platform = await open(t, { store, models: [model], routing: { backoffMs: 0 } })
    const acme = await home(platform)
    const answered = await platform.models.complete(acme.admin, 'm', 'Where is it?', { temperature: 0.5, maxTokens: 99 })
    assert.equal(answered.answer.text, 'On its way.')
    assert.deepEqual(answered.attempts.map(({ end }) => end), ['failed', 'answered'])
    assert.deepEqual(answered.usage, answered.answer.usage)
    const usage = await platform.usage.summary(acme.admin)
    assert.equal(usage.costUsd, answered.costUsd)
    assert.equal(usage.meters['llm.requests'], 1)
    const asked = model.requests().at(-1)
    assert.deepEqual([asked.temperature, asked.maxTokens], [0.5, 99])
  }
})

test('a conversation is given as messages, and its tools are the caller\'s', LIMIT, async (t) => {
  const platform = await open(t, { models: [scripted('m', { tools: [['find', { someId: 1 }]] })] })
  const { admin } = await home(platform)
  const answered = await platform.models.complete(admin, 'm', [
    { role: 'system', text: 'Be brief.' },
    { role: 'user', content: [{ type: 'text', text: 'Where is it?' }] },
  ], { tools: [{ name: 'find', description: 'Finds it', inputSchema: { type: 'object' } }], toolChoice: { tool: 'find' } })
  assert.deepEqual(answered.answer.toolCalls.map((call) => [call.name, call.arguments]), [['find', '{"someId":1}']])
})

test('a stream ends with what was spent', LIMIT, async (t) => {
  const platform = await open(t, { models: [scripted('m', 'one two')] })
  const { admin } = await home(platform)
  const events = []
  for await (const event of platform.models.stream(admin, 'm', 'Count.')) events.push(event)
  assert.deepEqual(events.filter(({ type }) => type === 'text').map(({ text }) => text), ['one ', 'two'])
  const spent = events.at(-1)
  assert.equal(spent.type, 'spent')
  assert.equal((await platform.usage.summary(admin)).costUsd, spent.costUsd)
})

test('an error has what was spent, and a stream says it before', LIMIT, async (t) => {
  const broken = { break: ['one ', down.fail] }
  const platform = await open(t, { models: [scripted('m', down, broken)], routing: { maxAttempts: 1 } })
  const { admin } = await home(platform)
  await assert.rejects(platform.models.complete(admin, 'm', 'Count.'), (error) => {
    assert.ok(error instanceof UnavailableError)
    assert.deepEqual(error.spent.attempts.map(({ model, end }) => [model, end]), [['m', 'failed']])
    return true
  })
  const events = []
  const reading = async () => {
    for await (const event of platform.models.stream(admin, 'm', 'Count.')) events.push(event)
  }
  await assert.rejects(reading, (error) => {
    assert.deepEqual(events.at(-1), error.spent)
    assert.equal(error.spent.type, 'spent')
    assert.ok(Number(error.spent.costUsd) > 0)
    return true
  })
  await assert.rejects(platform.models.complete(admin, 'x', 'Count.'), (error) => error instanceof NotFoundError && error.spent === null)
})

test('a loop that ends and a signal end the request, and what was used counts', LIMIT, async (t) => {
  const store = storeIn(folder(t))
  const platform = await Platform.open({ store, models: [scripted('m', { stall: 'and ' }, { stall: 'so ' }, { stall: 'on' })] })
  const { admin, tenant, root } = await home(platform)
  for await (const event of platform.models.stream(admin, 'm', 'Go on.')) {
    assert.equal(event.text, 'and ')
    break
  }
  const first = new AbortController()
  const stream = platform.models.stream(admin, 'm', 'Go on.', { signal: first.signal })
  assert.equal((await stream.next()).value.text, 'so ')
  first.abort(new Error('enough'))
  await assert.rejects(stream.next(), /enough/)
  const second = new AbortController()
  const waiting = platform.models.complete(admin, 'm', 'Go on.', { signal: second.signal })
  setTimeout(() => second.abort(new Error('too long')), 50)
  await assert.rejects(waiting, /too long/)
  await platform.close()
  const again = await open(t, { store })
  const usage = await again.usage.summary(await again.context(tenant, root))
  assert.equal(usage.meters['llm.requests'], 3)
})

test('vectors and rankings', LIMIT, async (t) => {
  const platform = await open(t, { models: [scripted('m')] })
  const { admin } = await home(platform)
  const { answer: { vectors } } = await platform.models.embed(admin, 'm', ['one', 'two'], { purpose: 'query', dimensions: 4 })
  assert.deepEqual(vectors.map(({ length }) => length), [4, 4])
  const { answer: { results } } = await platform.models.rerank(admin, 'm', 'order', ['a bill', 'an order'], { topN: 1 })
  assert.deepEqual(results.map(({ index }) => index), [1])
  assert.equal((await platform.usage.summary(admin)).meters['llm.requests'], 2)
})

test('routes fall over and say why, and their names stay as they are', LIMIT, async (t) => {
  const routing = { routes: { smallChat: { targets: ['modelA', { model: 'modelB', weight: 2 }] } }, maxAttempts: 2, retries: 0 }
  const platform = await open(t, { models: [scripted('modelA', down), scripted('modelB', 'from b')], routing })
  const { admin } = await home(platform)
  const decision = await platform.models.explain(admin, 'smallChat', 'Hello.')
  assert.deepEqual(decision.candidates.map(({ target }) => target), ['modelA', 'modelB'])
  const answered = await platform.models.complete(admin, 'smallChat', 'Hello.')
  assert.deepEqual(answered.attempts.map(({ model }) => model), ['modelA', 'modelB'])
  const [route] = await platform.models.list(admin)
  assert.deepEqual([route.kind, route.name, route.targets], ['route', 'smallChat', ['modelA', 'modelB']])
})

test('prices and budgets are settings', LIMIT, async (t) => {
  const table = { format: 1, unit: 'usd_per_million_tokens' }
  const catalog = { ...table, providers: { openai: { models: { 'gpt-4o': { price: { input: '7', output: '8' } } } } } }
  const layers = { budgets: { limits: [{ of: { scope: 'tenant' }, per: 'day', requests: 1 }] } }
  const secrets = { OPENAI_API_KEY: 'sk-none' }
  const platform = await open(t, { models: [scripted('m', 'one')], providers: ['openai'], secrets, catalog, layers })
  const { admin } = await home(platform)
  const entries = await platform.models.list(admin)
  assert.equal(entries.find(({ name }) => name === 'openai/gpt-4o').info.price.input, 7_000_000)
  await platform.models.complete(admin, 'm', 'Hello.')
  await assert.rejects(platform.models.complete(admin, 'm', 'Hello.'), { code: 'budget_exceeded' })
  await assert.rejects(Platform.open({ catalog: { ...table, provider: {} } }), /did you mean `providers`/)
})

test('models side by side', LIMIT, async (t) => {
  const platform = await open(t, { models: [scripted('wrong', 'It is 5.'), scripted('right', 'It is 4.')] })
  const { admin } = await home(platform)
  const compared = await platform.models.compare(admin, ['wrong', 'right'], '2 + 2?', { score: { contains: ['4'] }, timeoutMs: 5000 })
  assert.equal(compared.recommendation.model, 'right')
  assert.deepEqual(compared.models.map(({ score }) => score), [0, 1000])
  assert.equal((await platform.usage.summary(admin)).meters['llm.requests'], 2)
})

test('bad input names what is wrong', LIMIT, async (t) => {
  await assert.rejects(Platform.open({ routing: { strategy: 'cheapest' } }), /there is no strategy `cheapest`/)
  const platform = await open(t, { models: [scripted('m', down, down, down, 'hello')] })
  const acme = await home(platform)
  const { models } = platform
  await assert.rejects(models.complete(acme.admin, 'm', 7), InvalidInputError)
  await assert.rejects(models.complete(acme.admin, 'm', 'Hello.', { route: { fallback: [] } }), /unknown field `fallback`/)
  await assert.rejects(models.complete(acme.admin, 'n', 'Hello.'), NotFoundError)
  await assert.rejects(models.complete(acme.admin, 'm', 'Hello.', { route: { maxAttempts: 1 } }), UnavailableError)
  const eve = await acme.user('eve', 'agent_viewer')
  await assert.rejects(models.complete(eve, 'm', 'Hello.'), PermissionDeniedError)
  assert.equal((await models.list(eve))[0].name, 'm')
})
