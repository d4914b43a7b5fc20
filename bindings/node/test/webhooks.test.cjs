'use strict'
// Webhooks: deliveries that vendors sign, over a real HTTP server, and the runs that come of them.

const assert = require('node:assert/strict')
const { createHmac } = require('node:crypto')
const http = require('node:http')
const { test } = require('node:test')
const { InvalidInputError, NotFoundError } = require('../index.cjs')
const { ScriptedModel } = require('../testing.cjs')
const { LIMIT, deployed, folder, home, open, storeIn } = require('./support.cjs')

const BODY = Buffer.from(JSON.stringify({
  action: 'opened',
  issue: { id: 5, number: 7, title: 'It burns — é', state: 'open', updated_at: '2026-01-02T03:04:05Z' },
  repository: { id: 1, full_name: 'octo/repo' },
}, undefined, 1))

/** As GitHub signs a delivery. */
function headers(secret, body = BODY) {
  const signature = createHmac('sha256', secret).update(body).digest('hex')
  return {
    'X-GitHub-Event': 'issues', 'X-GitHub-Delivery': 'd-1', 'X-Hub-Signature-256': `sha256=${signature}`,
    'Content-Type': 'application/json',
  }
}

const started = (t, more) => open(t, {
  store: storeIn(folder(t)), models: [new ScriptedModel('m', ['seen', 'seen'])],
  connectors: { sealingKeyEnv: 'KEY' }, secrets: { KEY: '07'.repeat(32) }, ...more,
})

/** A server that gives what is posted to the platform. */
async function serve(t, platform) {
  const server = http.createServer(async (request, response) => {
    const parts = []
    for await (const part of request) parts.push(part)
    const address = request.url.split('/').pop()
    const { status, text } = await platform.webhooks.receive(address, request.headers, Buffer.concat(parts))
    response.writeHead(status).end(text)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `http://127.0.0.1:${server.address().port}/hooks`
}

test('a delivery starts a run', LIMIT, async (t) => {
  const platform = await started(t)
  const { admin } = await home(platform)
  const agent = await deployed(platform, admin)
  const triggers = [{ agent: agent.id, input: '{{ body.issue.title }}', filter: { prefix: 'issues.' } }]
  const { endpoint, secret } = await platform.webhooks.create(admin, { name: 'code', vendor: 'github', triggers })
  assert.equal(endpoint.state, 'active')
  const url = `${await serve(t, platform)}/${endpoint.address}`
  const send = async (to, given) => (await fetch(to, { method: 'POST', headers: given, body: BODY })).status
  assert.equal(await send(url, headers(secret)), 200)
  assert.equal(await send(url, headers(secret)), 200)
  assert.equal(await send(url, headers('other')), 401)
  assert.equal(await send(`${url}0`, headers(secret)), 404)
  let delivery
  do [delivery] = (await platform.webhooks.deliveries(admin, endpoint)).items
  while (delivery.state === 'pending')
  assert.deepEqual([delivery.state, delivery.kind, delivery.repeats], ['done', 'issues.opened', 1])
  const run = await platform.runs.get(admin, delivery.runs[0])
  assert.equal((await run.wait()).text, 'seen')
  const whole = await platform.webhooks.delivery(admin, delivery)
  assert.deepEqual(Buffer.from(whole.body, 'base64'), BODY)
  assert.equal(whole.headers['x-github-delivery'], 'd-1')
  await platform.webhooks.replay(admin, delivery)
  assert.notEqual((await platform.webhooks.rotate(admin, endpoint, { overlapS: 60 })).secret, secret)
  assert.equal((await platform.webhooks.update(admin, endpoint, { enabled: false })).state, 'disabled')
  const names = []
  for await (const one of platform.webhooks.iterate(admin)) names.push(one.name)
  assert.deepEqual(names, ['code'])
  await platform.webhooks.delete(admin, endpoint)
  await assert.rejects(platform.webhooks.get(admin, endpoint), NotFoundError)
})

test('what is no delivery is said', LIMIT, async (t) => {
  const platform = await started(t, { webhooks: { atOnce: 0 } })
  const { admin } = await home(platform)
  const { endpoint } = await platform.webhooks.create(admin, { name: 'code', vendor: 'github', secret: 'chosen elsewhere' })
  const receive = (given, body) => platform.webhooks.receive(endpoint.address, given, body)
  assert.equal((await receive(new Headers(headers('chosen elsewhere')), new Uint8Array(BODY))).status, 200)
  assert.equal((await receive(Object.entries(headers('chosen elsewhere')), BODY)).status, 200)
  await assert.rejects(receive({}, 'text'), InvalidInputError)
  await assert.rejects(receive(null, BODY), InvalidInputError)
  await assert.rejects(receive({ a: 1 }, BODY), InvalidInputError)
  await assert.rejects(platform.webhooks.create(admin, { name: 'x', vendor: 'generic' }), InvalidInputError)
})
