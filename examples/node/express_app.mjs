// An Express service that embeds the platform: authenticate, start a run, stream it by server-sent events.
//
//     cd bindings/node && npm install
//     AGENTPROVISION_STORE=sqlite://app.db PEPPER='at least 16 bytes' node examples/node/express_app.mjs
//
//     curl -N -H "authorization: Bearer $KEY" -H 'content-type: application/json' \
//       -d '{"input": "Order 1234 never arrived"}' localhost:3000/runs?on_disconnect=cancel
//
// Without OPENAI_API_KEY a small written model answers. On the first start it makes a tenant and prints a key.

import { createRequire } from 'node:module'

// In a program of your own: from 'agentprovision' and 'agentprovision/testing'.
import { AgentProvisionError, ClosedError, Platform, model, tool } from '../../bindings/node/index.mjs'

/** @type {typeof import('express')} */
const express = createRequire(new URL('../../bindings/node/package.json', import.meta.url))('express')

const findOrder = tool(
  {
    name: 'find_order',
    description: 'Finds an order by its number',
    effect: 'pure',
    parameters: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
  },
  ({ id }) => ({ id, state: 'left the warehouse on Monday' }),
)

// Asks the tool once, then answers a word at a time until the caller goes away or the answer is whole. The pause is what
// makes it a stream to look at.
const written = model({ name: 'written', price: { input: '0.1', output: '0.2' } }, async function* ({ messages }, { signal }) {
  const asked = messages.findLast(({ role }) => role === 'user')
  const said = asked?.role === 'user' ? asked.content.find(({ type }) => type === 'text') : undefined
  const text = said?.type === 'text' ? said.text : ''
  const found = messages.at(-1)
  if (found?.role !== 'tool') {
    yield { type: 'tool_call', index: 0, id: 'call_1', name: 'find_order', arguments: JSON.stringify({ id: /\d+/.exec(text)?.[0] ?? '' }) }
    return
  }
  const words = `Your order ${JSON.parse(found.content).state}. ${'Thank you for your patience. '.repeat(Number(process.env.PATIENCE ?? 1))}`
  for (const word of words.trim().split(/(?<= )/)) {
    if (signal.aborted) return
    yield word
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
})

const name = process.env.OPENAI_API_KEY ? 'gpt-4o-mini' : 'written'
const platform = await Platform.open({
  store: process.env.AGENTPROVISION_STORE ?? 'memory://',
  pepperEnv: process.env.PEPPER ? 'PEPPER' : undefined,
  providers: process.env.OPENAI_API_KEY ? ['openai'] : [],
  models: [written],
  tools: [findOrder],
})

/** On an empty store: a tenant, its admin with a key, and a running agent. */
async function provision() {
  const operator = platform.operator('express_app', 'first start')
  const { items } = await platform.tenants.list(operator)
  if (items.length > 0) return
  const acme = await platform.tenants.create(operator, { name: 'acme', domain: 'acme.example' })
  const root = await platform.tenants.bootstrapAdmin(operator, acme, { email: 'root@acme.example' })
  const ctx = await platform.context(acme, root)
  const agent = await platform.agents.create(ctx, {
    name: 'order desk', instructions: 'Answer in one sentence.', model: name, tools: [findOrder],
  })
  await platform.agents.deploy(ctx, agent)
  const key = await platform.keys.create(ctx, { name: 'first' })
  console.log(`key ${key.secret}`)
}
await provision()

const app = express()
app.use(express.json())

/** Who calls, by the API key of the request. @param {import('express').Request} request */
async function caller(request) {
  const [, key = ''] = /^Bearer (\S+)$/i.exec(request.get('authorization') ?? '') ?? []
  return platform.authenticate(key, { ipAddress: request.ip, userAgent: request.get('user-agent') })
}

app.post('/runs', async (request, response) => {
  const ctx = await caller(request)
  const { items } = await platform.agents.list(ctx, { state: 'running', limit: 1 })
  const agent = items[0]
  if (!agent) return void response.status(404).json({ error: { code: 'not_found', message: 'no agent runs' } })
  // For a client that is gone by now nothing is started: its `close` came before anybody listened for it.
  if (response.destroyed) return
  const onDisconnect = request.query.on_disconnect === 'cancel' ? 'cancel' : 'continue'
  const events = platform.runs.stream(ctx, agent, request.body?.input, {
    onDisconnect, idempotencyKey: request.get('idempotency-key'),
  })
  // A client that goes away ends the stream; what becomes of the run is what the start said.
  response.on('close', () => void events.return())
  await send(events, (await events.run).id, response)
})

// A client that lost its stream goes on after the last event it has.
app.get('/runs/:run/events', async (request, response) => {
  const run = await platform.runs.get(await caller(request), request.params.run)
  if (response.destroyed) return
  const events = run.events({ after: request.get('last-event-id') })
  response.on('close', () => void events.return())
  await send(events, run.id, response)
})

app.get('/runs/:run', async (request, response) => {
  response.json(await platform.runs.record(await caller(request), request.params.run))
})

/**
 * Events as server-sent events.
 *
 * @param {AsyncIterable<import('../../bindings/node/index.mjs').RunEvent>} events
 * @param {string} run
 * @param {import('express').Response} response
 */
async function send(events, run, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-run': run })
  try {
    for await (const event of events) {
      response.write(`id: ${event.cursor}\nevent: ${event.event}\ndata: ${JSON.stringify(event)}\n\n`)
    }
  } catch (error) {
    // The service ends; the run goes on where the store is opened next, and so can the client, after the last id.
    if (!(error instanceof ClosedError)) throw error
  }
  response.end()
}

/** @type {import('express').ErrorRequestHandler} */
const refused = (error, request, response, next) => {
  if (response.headersSent) return next(error)
  const known = error instanceof AgentProvisionError
  if (known && error.retryAfter !== null) response.set('retry-after', String(Math.ceil(error.retryAfter)))
  response.status(known ? error.httpStatus : 500).json({
    error: { code: known ? error.code : 'internal', message: known ? error.message : 'something went wrong' },
  })
}
app.use(refused)

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  const address = server.address()
  console.log(`listening on ${address !== null && typeof address === 'object' ? address.port : ''}`)
})

/** Takes no more requests, closes the platform, which ends the streams, and lets the answers go out. */
async function shutdown() {
  const closed = new Promise((resolve) => server.close(resolve))
  await platform.close()
  server.closeIdleConnections()
  await closed
  console.log('closed')
}
process.once('SIGTERM', shutdown)
process.once('SIGINT', shutdown)
