'use strict'
// The Express example over real HTTP, and both quickstarts of a terminal.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { spawn, execFileSync } = require('node:child_process')
const { once } = require('node:events')
const http = require('node:http')
const net = require('node:net')
const { join } = require('node:path')
const { Platform } = require('../index.cjs')
const { LIMIT, folder, storeIn, eventually } = require('./support.cjs')

const examples = join(__dirname, '..', '..', '..', 'examples', 'node')

/** The service in a process of its own. */
async function service(t, env = {}) {
  const { OPENAI_API_KEY: _, ...own } = process.env
  const child = spawn(process.execPath, [join(examples, 'express_app.mjs')], {
    env: { ...own, PORT: '0', NODE_TEST_CONTEXT: '', ...env }, stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text) => { out += text })
  await eventually('it listens', () => /listening on \d+/.test(out) || child.exitCode !== null)
  const [, port] = /listening on (\d+)/.exec(out)
  const key = /key (\S+)/.exec(out)?.[1]
  /** A request; gives the response when its head is there. */
  const ask = async (method, path, body, headers = {}) => {
    const request = http.request({ port, host: '127.0.0.1', method, path, headers: {
      authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers,
    } })
    request.end(body === undefined ? undefined : JSON.stringify(body))
    const [response] = await once(request, 'response')
    return response.setEncoding('utf8')
  }
  const read = async (response) => {
    let text = ''
    for await (const piece of response) text += piece
    return text
  }
  const get = async (run) => JSON.parse(await read(await ask('GET', `/runs/${run}`)))
  return { child, port, key, ask, read, get, said: () => out }
}

test('it streams a run to a client, and refuses who it does not know', LIMIT, async (t) => {
  const { ask, read, get } = await service(t)
  const response = await ask('POST', '/runs', { input: 'Order 1234 never arrived' })
  assert.equal(response.statusCode, 200)
  assert.match(response.headers['content-type'], /^text\/event-stream/)
  const events = (await read(response)).trim().split('\n\n').map((block) => JSON.parse(/^data: (.*)$/m.exec(block)[1]))
  assert.equal(events[0].event, 'started')
  assert.deepEqual([events.at(-1).event, events.at(-1).status], ['finished', 'completed'])
  const text = events.filter(({ event }) => event === 'text').map((event) => event.text).join('')
  assert.equal(text, 'Your order left the warehouse on Monday. Thank you for your patience.')
  assert.equal((await get(response.headers['x-run'])).status, 'completed')

  const stranger = await ask('POST', '/runs', { input: 'x' }, { authorization: 'Bearer nonsense' })
  assert.equal(stranger.statusCode, 401)
  assert.equal(JSON.parse(await read(stranger)).error.code, 'unauthenticated')
  const wrong = await ask('POST', '/runs', { input: 5 })
  assert.equal(wrong.statusCode, 400)
  const missing = await ask('GET', '/runs/run_00000000000070000000000000000000')
  assert.equal(missing.statusCode, 404)
})

for (const [onDisconnect, wanted] of [['cancel', 'cancelled'], ['continue', 'completed']]) {
  test(`a client goes away: the run is ${wanted}`, LIMIT, async (t) => {
    const { ask, read, get } = await service(t, { PATIENCE: wanted === 'cancelled' ? '100' : '12' })
    const response = await ask('POST', `/runs?on_disconnect=${onDisconnect}`, { input: 'Where is 7?' })
    let text = ''
    for await (const piece of response) {
      text += piece
      if (text.includes('patience')) break
    }
    response.destroy()
    const run = response.headers['x-run']
    await eventually('the run is over', async () => (await get(run)).status !== 'running')
    assert.equal((await get(run)).status, wanted)

    // What it did not see yet is there for it: the two parts are the whole, event by event.
    const whole = text.slice(0, text.lastIndexOf('\n\n') + 2)
    const [last] = [...whole.matchAll(/^id: (.*)$/gm)].at(-1).slice(1)
    const rest = await read(await ask('GET', `/runs/${run}/events`, undefined, { 'last-event-id': last }))
    const all = await read(await ask('GET', `/runs/${run}/events`))
    const spoken = (part) => [...part.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data)).filter(({ event }) => event === 'text')
      .map((event) => event.text).join('')
    if (wanted === 'completed') assert.equal(spoken(whole) + spoken(rest), spoken(all))
    assert.match(rest, /event: finished/)
  })
}

test('a client that goes away while its run is started leaves none behind', LIMIT, async (t) => {
  const store = storeIn(folder(t))
  const { port, key, child, ask, read } = await service(t, { AGENTPROVISION_STORE: store, PEPPER: 'a pepper of enough bytes', PATIENCE: '400' })
  const body = JSON.stringify({ input: 'Where is 7?' })
  const request = `POST /runs?on_disconnect=cancel HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  for (let turn = 0; turn < 60; turn += 1) {
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.write(request)
    await new Promise((resolve) => setTimeout(resolve, turn / 10))
    socket.destroy()
    await once(socket, 'close')
  }
  // What became of them is seen when a later one, which stays, has been cancelled too.
  const last = await ask('POST', '/runs?on_disconnect=cancel', { input: 'Where is 8?' })
  await once(last, 'data')
  last.destroy()
  const over = async () => JSON.parse(await read(await ask('GET', `/runs/${last.headers['x-run']}`))).status !== 'running'
  await eventually('the last is over', over)
  child.kill('SIGTERM')
  await once(child, 'exit')
  const again = await Platform.open({ store, pepperEnv: 'P', secrets: { P: 'a pepper of enough bytes' } })
  t.after(() => again.close())
  const ctx = await again.authenticate(key)
  // One whose cancelling was under way is ended here; one that nobody cancels stays, as its model is not there.
  const statuses = async () => {
    const found = new Set()
    for await (const { status } of again.runs.iterate(ctx, { limit: 100 })) found.add(status)
    return [...found]
  }
  await eventually('all are over', async () => !(await statuses()).includes('running'))
  assert.deepEqual(await statuses(), ['cancelled'])
})

test('it goes on from its store after SIGTERM in the middle of a stream', LIMIT, async (t) => {
  const env = { AGENTPROVISION_STORE: storeIn(folder(t)), PEPPER: 'a pepper of enough bytes', PATIENCE: '25' }
  const first = await service(t, env)
  const response = await first.ask('POST', '/runs', { input: 'Where is 7?' })
  let told = ''
  response.on('data', (text) => { told += text })
  const ended = new Promise((resolve, reject) => response.on('end', resolve).on('error', reject))
  await eventually('it speaks', () => told.includes('event: text'))
  first.child.kill('SIGTERM')
  const [code, signal] = await once(first.child, 'exit')
  await ended
  assert.deepEqual([code, signal], [0, null], first.said())
  assert.match(first.said(), /closed\n$/)
  const again = await Platform.open({ store: env.AGENTPROVISION_STORE, pepperEnv: 'P', secrets: { P: env.PEPPER } })
  t.after(() => again.close())
  const ctx = await again.authenticate(first.key)
  const { status } = await again.runs.record(ctx, response.headers['x-run'])
  assert.ok(['running', 'completed'].includes(status), status)
  await again.audit.verify(ctx)
})

const run = (file, ...args) => {
  const { OPENAI_API_KEY: _, ...env } = process.env
  return execFileSync(process.execPath, [join(examples, file), ...args], { encoding: 'utf8', env: { ...env, NODE_TEST_CONTEXT: '' } })
}

test('the quickstart does what it says', LIMIT, async (t) => {
  const store = storeIn(folder(t))
  const report = JSON.parse(run('quickstart.mjs', '--json', '--store', store))
  assert.equal(report.provider, 'loopback')
  assert.deepEqual(report.refused, { cross_tenant: 'not_found', missing_permission: 'permission_denied' })
  assert.match(report.run.output, /^\[bug\] Order export fails/)
  assert.deepEqual(report.run.steps.map(({ kind }) => kind), ['model', 'tool', 'model'])
  assert.equal(report.usage.cost_usd, report.run.cost_usd)
  const platform = await Platform.open({ store })
  t.after(() => platform.close())
  const operator = platform.operator('ops', 'look')
  assert.equal((await platform.tenants.list(operator)).items.length, 2)
  const shown = run('quickstart.mjs')
  assert.match(shown, /a small model on loopback in the place of gpt-4o-mini/)
  assert.match(shown, /audit {5}\d+ records, verified, root [0-9a-f]{64}/)
})

test('the custom tools are called as they say', LIMIT, () => {
  assert.match(run('custom_tool.mjs'), /\[refund waits for approval\]\n\[approved\]\n\[tool refund\]\n.*deposit is paid back\.\n\[completed\]/)
})

test('three connectors work on services that fail', { ...LIMIT, skip: !process.env.AGENTPROVISION_TEST_EMULATOR }, () => {
  assert.match(run('connectors.mjs', process.env.AGENTPROVISION_TEST_EMULATOR), /made OPS-1, one comment and one message, by \d+ requests/)
})
