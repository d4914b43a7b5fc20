'use strict'
// Connectors and integrations: one of the library, and one that is written in JavaScript.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { createServer } = require('node:http')
const { inspect } = require('node:util')
const {
  Platform, connector, ConflictError, InvalidInputError, NotFoundError, ProviderError, RateLimitedError,
  UnsupportedError,
} = require('../index.cjs')
const { LIMIT, folder, storeIn, open, home, deployed, calls, later } = require('./support.cjs')

const LOOPBACK = { name: 'loopback', ranges: ['127.0.0.0/8'], plainHttp: true, anyPort: true }

/** A service over HTTP, which keeps what it was asked. */
async function service(t, answer) {
  const asked = []
  const found = { asked, answer, url: '' }
  const server = createServer((request, response) => {
    const parts = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      const bytes = Buffer.concat(parts)
      const body = request.headers['content-type'] === 'application/json' ? JSON.parse(bytes) : bytes
      asked.push({ method: request.method, path: request.url, headers: request.headers, body })
      const [status, said, headers = {}] = found.answer(request.method, request.url, body)
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(Buffer.isBuffer(said) ? said : JSON.stringify(said))
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  found.url = `http://127.0.0.1:${server.address().port}`
  return found
}

function desk(made = []) {
  const ticket = { type: 'object', properties: { number: { type: 'integer' }, title: { type: 'string' } }, required: ['number'] }
  return connector({
    name: 'desk',
    title: 'Help desk',
    summary: 'Tickets of the help desk.',
    auth: 'bearer',
    settings: { signature: 'What stands under tickets.' },
    headers: { 'x-from': 'node' },
    whoami: { operation: 'users.me', id: '/id', name: '/login' },
    operations: {
      'users.me': { effect: 'read', run: async (_, call) => (await call.send('GET', '/me')).json() },
      'tickets.create': {
        summary: 'Makes a ticket.',
        scopes: ['tickets'],
        timeoutMs: 10_000,
        schema: {
          type: 'object',
          properties: { queue: { type: 'string' }, title: { type: 'string' } },
          required: ['queue', 'title'],
          additionalProperties: false,
        },
        output: ticket,
        async run({ queue, title }, call) {
          made.push(call)
          const json = { title: `${title} (${call.settings.signature})` }
          const headers = call.idempotencyKey ? { 'idempotency-key': call.idempotencyKey } : {}
          return (await call.send('POST', '/queues/{queue}/tickets', { params: { queue }, json, headers })).json()
        },
      },
      'tickets.get': {
        effect: 'read',
        schema: { schema: { type: 'object', properties: { number: { type: 'integer' } } }, parse: (value) => ({ ...value, parsed: true }) },
        output: ticket,
        async run({ number, parsed }, call) {
          assert.equal(parsed, true)
          const response = await call.send('GET', '/tickets/{number}', { params: { number, fields: ['a', 'b&c'], none: null } })
          return response.json()
        },
      },
      odd: {
        effect: 'read',
        schema: { type: 'object', properties: { what: { type: 'string' } } },
        output: ticket,
        async run({ what }, call) {
          if (what === 'throw') throw new RangeError(`no such thing with ${call.credentials.token}`)
          if (what === 'say so') throw new ConflictError('the desk is closed')
          if (what === 'elsewhere') await call.send('GET', 'https://elsewhere.example/')
          if (what === 'option') await call.send('GET', '/me', { query: {} })
          if (what === 'bytes') {
            const answer = await call.send('PUT', '/bytes', { body: Buffer.from([255, 0]), check: false })
            throw new ConflictError(`${answer.status} ${answer.body.toString('hex')}`)
          }
          return { number: 'seven' }
        },
      },
    },
  })
}

function answer(method, path, body) {
  if (path === '/me') return [200, { id: 7, login: 'ada' }]
  if (path === '/bytes') return [418, Buffer.from([254]), { 'content-type': 'x/y' }]
  if (path.endsWith('/tickets')) return [200, { number: 7, title: body.title }]
  if (path.startsWith('/tickets/7')) return [200, { number: 7, title: 'It burns' }]
  return [404, { message: 'there is no ticket' }]
}

/** A platform with the connector, and an integration of it. */
async function connected(t, { made = [], ...options } = {}) {
  const found = await service(t, answer)
  const platform = await open(t, { connectors: { enabled: ['github', desk(made)], networks: [LOOPBACK] }, ...options })
  const { admin: ctx } = await home(platform)
  const integration = await platform.integrations.create(ctx, {
    name: 'my desk', connector: 'desk', settings: { base_url: found.url, signature: 'Yours' }, credentials: { token: 'canary-1234' },
  })
  const invoke = (operation, input, more) => platform.integrations.invoke(ctx, integration, operation, input, more)
  return { platform, ctx, integration, invoke, service: found, made }
}

test('a connector of the host is called as the integration', LIMIT, async (t) => {
  const { platform, ctx, integration, invoke, service: found, made } = await connected(t)
  assert.deepEqual((await platform.connectors.list(ctx)).map(({ name, title }) => [name, title]), [['desk', 'Help desk'], ['github', 'GitHub']])
  const { operations } = await platform.connectors.get(ctx, 'desk')
  const create = operations.find(({ name }) => name === 'tickets.create')
  assert.deepEqual([create.tool, create.effect, create.scopes], ['desk_tickets_create', 'write', ['tickets']])
  const tested = await platform.integrations.test(ctx, integration)
  assert.deepEqual([tested.healthy, tested.account], [true, { id: '7', name: 'ada' }])

  const given = { queue: 'a b/c', title: 'It burns' }
  const ticket = await invoke('tickets.create', given, { idempotencyKey: 'k' })
  assert.deepEqual(ticket, { number: 7, title: 'It burns (Yours)' })
  assert.deepEqual(await platform.integrations.invoke(ctx, integration.id, 'tickets.create', given, { idempotencyKey: 'k' }), ticket)
  const posts = found.asked.filter(({ method }) => method === 'POST')
  assert.equal(posts.length, 1)
  assert.equal(posts[0].path, '/queues/a%20b%2Fc/tickets')
  assert.deepEqual(posts[0].body, { title: 'It burns (Yours)' })
  assert.equal(posts[0].headers.authorization, 'Bearer canary-1234')
  assert.deepEqual([posts[0].headers['x-from'], posts[0].headers['idempotency-key']], ['node', 'k'])
  const [call] = made
  assert.deepEqual([call.integration, call.idempotencyKey, call.run], [integration.id, 'k', null])
  assert.ok(!inspect(call, { depth: 9, showHidden: true }).includes('canary'))
  assert.deepEqual(call.credentials, { token: 'canary-1234' })
  await assert.rejects(call.send('GET', '/me'), /the call of the operation is over/)

  assert.deepEqual(await invoke('tickets.get', { number: 7 }), { number: 7, title: 'It burns' })
  assert.equal(found.asked.at(-1).path, '/tickets/7?fields=a&fields=b%26c')
  await assert.rejects(invoke('tickets.get', { number: 8 }), (error) => {
    assert.ok(error instanceof NotFoundError)
    assert.match(error.message, /there is no ticket/)
    return true
  })
  found.answer = () => [429, {}, { 'retry-after': '3600' }]
  await assert.rejects(invoke('tickets.get', { number: 7 }), (error) => error instanceof RateLimitedError && error.retryable)
})

test('what goes wrong in an operation', LIMIT, async (t) => {
  const { invoke, service: found } = await connected(t)
  const odd = (what) => invoke('odd', { what })
  await assert.rejects(odd('say so'), (error) => error instanceof ConflictError && error.message === 'the desk is closed')
  await assert.rejects(odd('throw'), (error) => /no such thing with/.test(error.message) && !inspect(error).includes('canary'))
  await assert.rejects(odd('wrong'), (error) => error instanceof ProviderError && /`\/number`/.test(error.message))
  await assert.rejects(odd('elsewhere'), (error) => error instanceof InvalidInputError && /is no path under/.test(error.message))
  await assert.rejects(odd('option'), /unknown option `query`/)
  await assert.rejects(odd('bytes'), /^ConflictError: 418 fe$/)
  assert.deepEqual([...found.asked.at(-1).body], [255, 0])
  for (const [given, named] of [
    [{ queue: 'q' }, /"title" is a required property/],
    [{ queue: 7, title: 't' }, /`\/queue`/],
    [{ queue: 'q', title: 't', colour: 'red' }, /colour/],
  ]) {
    await assert.rejects(invoke('tickets.create', given), (error) => error instanceof InvalidInputError && named.test(error.message))
  }
  await assert.rejects(invoke('tickets.craete', {}), (error) => error instanceof NotFoundError && /did you mean `tickets.create`/.test(error.message))
  found.answer = () => [200, Buffer.from('<html>')]
  const create = () => invoke('tickets.create', { queue: 'q', title: 't' }, { idempotencyKey: 'once' })
  await assert.rejects(create(), (error) => error instanceof ProviderError && /is no JSON/.test(error.message))
  // It was sent, and nobody knows what came of it.
  await assert.rejects(create(), (error) => error instanceof ConflictError && /under way under this key/.test(error.message))
})

test('an operation is a tool of an agent', LIMIT, async (t) => {
  const models = [calls('desk_tickets_create', { queue: 'q', title: 'It burns' })]
  const { platform, ctx, made } = await connected(t, { models })
  const agent = await deployed(platform, ctx, { tools: ['desk_tickets_create'], capabilities: ['integrations:invoke'] })
  const run = await platform.runs.start(ctx, agent, 'go')
  const outcome = await run.wait()
  assert.deepEqual([outcome.chain.steps[1].name, outcome.chain.steps[1].success], ['desk_tickets_create', true])
  assert.deepEqual([made[0].run, made[0].agent], [run.id, agent.id])
  const usage = await platform.usage.events(ctx)
  assert.deepEqual(usage.filter(({ meter }) => meter === 'integration.calls').map((event) => event.run), [run.id])
})

test('integrations are made, changed and deleted', LIMIT, async (t) => {
  const { platform, ctx, integration, invoke } = await connected(t)
  assert.deepEqual((await platform.integrations.list(ctx, { connector: 'desk', state: 'active' })).items, [integration])
  const changed = await platform.integrations.update(ctx, integration, { name: 'our desk', enabled: false })
  assert.deepEqual([changed.name, changed.state], ['our desk', 'disabled'])
  await assert.rejects(invoke('users.me'), /disabled/)
  for await (const one of platform.integrations.iterate(ctx)) assert.equal(one.name, 'our desk')
  await platform.integrations.delete(ctx, integration)
  await assert.rejects(platform.integrations.get(ctx, integration), (error) => error instanceof NotFoundError)
})

test('a signal ends a call', LIMIT, async (t) => {
  const gone = later()
  const waits = connector({
    name: 'waits',
    operations: { wait: { effect: 'read', run: (_, call) => new Promise((resolve) => {
      call.signal.addEventListener('abort', () => { gone.resolve(); resolve(null) })
      aborting.abort(new Error('enough'))
    }) } },
  })
  const aborting = new AbortController()
  const platform = await open(t, { connectors: [waits] })
  const { admin } = await home(platform)
  const made = await platform.integrations.create(admin, { name: 'w', connector: 'waits' })
  await assert.rejects(platform.integrations.invoke(admin, made, 'wait', {}, { signal: aborting.signal }), /enough/)
  await gone.promise
})

test('a connector of the library', LIMIT, async (t) => {
  const issue = {
    id: 1, number: 42, title: 'It burns', state: 'open', comments: 0, locked: false, html_url: 'https://github.example/o/r/issues/42',
    created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z',
  }
  const found = await service(t, (method) => (method === 'POST' ? [201, issue] : [404, {}]))
  const store = storeIn(folder(t))
  const connectors = { enabled: ['github'], networks: [LOOPBACK], sealingKeyEnv: 'KEY', apps: { github: { clientId: 'app-1' } } }
  const platform = await open(t, { store, connectors, secrets: { KEY: '07'.repeat(32) } })
  const { admin } = await home(platform)
  const settings = { base_url: found.url }
  const made = await platform.integrations.create(admin, {
    name: 'code', connector: 'github', settings, credentials: { token: 'canary-github' },
  })
  assert.ok(!inspect(made, { depth: 9 }).includes('canary'))
  const opened = await platform.integrations.invoke(admin, made, 'issues.create', { owner: 'o', repo: 'r', title: 'It burns' })
  assert.deepEqual([opened.number, opened.html_url], [42, issue.html_url])
  assert.deepEqual([found.asked[0].path, found.asked[0].headers.authorization], ['/repos/o/r/issues', 'Bearer canary-github'])
  await assert.rejects(platform.integrations.invoke(admin, made, 'issues.create', { owner: 'o', repo: 'r' }), /"title" is a required property/)
  const granted = await platform.integrations.create(admin, { name: 'granted', connector: 'github', auth: 'oauth', settings })
  const begun = await platform.integrations.authorize(admin, granted, { redirectUri: 'https://host.example/back', scopes: ['repo'] })
  assert.match(begun.url, /client_id=app-1/)
  assert.ok(begun.state.startsWith(granted.id))
  await assert.rejects(platform.integrations.connect(admin, granted, { state: `${granted.id}.x`, code: 'x' }), /state/)
  await platform.close()

  // A store that lasts takes no credentials without a key.
  const keyless = await open(t, { store: storeIn(folder(t)), connectors: ['github'] })
  const other = await home(keyless, 'other')
  const create = keyless.integrations.create(other.admin, { name: 'code', connector: 'github', credentials: { token: 'x' } })
  await assert.rejects(create, (error) => error instanceof UnsupportedError)
})

test('credentials of a connector\'s own, and several ways to prove who asks', LIMIT, async (t) => {
  const own = connector({
    name: 'own',
    baseUrl: 'https://own.example',
    auth: [{ type: 'header', header: 'x-api-key' }, { type: 'oauth', authorizeUrl: 'https://own.example/a', tokenUrl: 'https://own.example/t' }],
    credentials: { user: 'The user.', secret: 'The secret.' },
    operations: { look: { run: (_, call) => ({ ...call.credentials }) } },
  })
  const platform = await open(t, { connectors: [own] })
  const { admin } = await home(platform)
  const [info] = await platform.connectors.list(admin)
  assert.deepEqual(info.auth.map(({ name, inBrowser }) => [name, inBrowser]), [['key', false], ['oauth', true], ['credentials', false]])
  const credentials = { user: 'ada', secret: 'canary' }
  const made = await platform.integrations.create(admin, { name: 'o', connector: 'own', auth: 'credentials', credentials })
  assert.deepEqual(await platform.integrations.invoke(admin, made, 'look'), credentials)
})

test('connectors that cannot be are refused by name', LIMIT, async () => {
  const run = () => null
  const one = (more) => connector({ name: 'one', operations: { look: { run, ...more } } })
  for (const [make, named] of [
    [() => connector(7), /described by an object/],
    [() => connector({ operations: {} }), /has a `name`/],
    [() => connector({ name: 'x', operations: [] }), /`operations` of the connector `x`/],
    [() => connector({ name: 'x', operations: { look: {} } }), /the operation `look` of `x` has no function `run`/],
    [() => one({ schema: 7 }), /is a JSON Schema/],
    [() => Platform.open({ connectors: 'github' }), /`connectors` is an array/],
    [() => Platform.open({ connectors: [7] }), /`connectors\[0\]` is not a name/],
    [() => Platform.open({ connectors: ['gihub'] }), /unknown connector `gihub`/],
    [() => Platform.open({ connectors: { enabeld: [] } }), /did you mean `enabled`/],
    [() => Platform.open({ connectors: [one({ efect: 'read' })] }), /did you mean `effect`/],
    [() => Platform.open({ connectors: [one({ timeoutMs: -1 })] }), /timeoutMs/],
    [() => Platform.open({ connectors: [connector({ name: 'LOUD', operations: {} })] }), /`LOUD` is no name/],
    [() => Platform.open({ connectors: [connector({ name: 'x', auth: 'baerer', operations: {} })] }), /did you mean `bearer`/],
  ]) {
    await assert.rejects(async () => make(), (error) => {
      assert.ok(error instanceof InvalidInputError, String(error))
      assert.match(error.message, named)
      return true
    })
  }
})
