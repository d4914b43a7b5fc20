// The official clients of the Model Context Protocol, of the versions with a handshake and of the one without, against the
// operations of connectors. `SERVER` names the built example `connector_server`.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { Client as FormerClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as FormerTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

const about = { name: 'sdk-tests', version: '1.0.0' }
const repo = { owner: 'acme', repo: 'app' }
let server
let served

before(async () => {
  server = spawn(process.env.SERVER, ['--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  served = {}
  for await (const line of createInterface({ input: server.stdout })) {
    const [name, value] = line.split(' ')
    served[name] = value
    if (name === 'mcp') break
  }
  assert.ok(served.mcp, 'the server did not start')
})

after(async () => {
  const ended = once(server, 'exit')
  server.kill('SIGINT')
  assert.deepEqual(await ended, [0, null])
})

const init = (key) => ({ requestInit: { headers: { authorization: `Bearer ${key}` } } })

async function latest(mode, key = served.key) {
  const client = new Client(about, { versionNegotiation: { mode } })
  await client.connect(new StreamableHTTPClientTransport(new URL(served.mcp), init(key)))
  return client
}

async function former(key = served.key) {
  const client = new FormerClient(about)
  await client.connect(new FormerTransport(new URL(served.mcp), init(key)))
  return client
}

const clients = {
  '2026-07-28': () => latest({ pin: '2026-07-28' }),
  'whichever both speak': () => latest('auto'),
  'with a handshake': () => latest('legacy'),
  'the library before it': () => former(),
}

for (const [name, connect] of Object.entries(clients)) {
  test(`tools: ${name}`, async () => {
    const client = await connect()
    const tools = []
    let cursor
    do {
      const page = await client.listTools(cursor && { cursor })
      tools.push(...page.tools)
      cursor = page.nextCursor
    } while (cursor)
    const names = tools.map((tool) => tool.name)
    assert.equal(new Set(names).size, names.length)
    assert.ok(names.length > 80 && names.every((name) => name.startsWith('github_')), names.join(' '))
    const hints = tools.find((tool) => tool.name === 'github_issues_get').annotations
    assert.deepEqual([hints.readOnlyHint, hints.destructiveHint], [true, false])

    // The library holds the answer to the schema of the list.
    const title = `made by ${name}`
    const made = await client.callTool({ name: 'github_issues_create', arguments: { ...repo, title } })
    assert.equal(made.isError ?? false, false, JSON.stringify(made))
    const { number } = made.structuredContent
    const read = await client.callTool({ name: 'github_issues_get', arguments: { ...repo, issue_number: number } })
    assert.equal(read.structuredContent.title, title)

    const wrong = await client.callTool({ name: 'github_issues_get', arguments: { ...repo, issue_number: 'one' } })
    assert.equal(wrong.isError, true)
    assert.equal(JSON.parse(wrong.content[0].text).code, 'invalid_input')
    await assert.rejects(client.callTool({ name: 'github_issues_gte', arguments: {} }), /no tool/)
    await client.close()
  })
}

test('schemas have nothing that JSON Schema does not know', async () => {
  const client = await former()
  const { tools } = await client.listTools()
  assert.doesNotMatch(JSON.stringify(tools), /"format":"u?int/)
  await client.close()
})

test('a key that does not hold', async () => {
  await assert.rejects(latest('legacy', 'apk_wrong'))
  await assert.rejects(former('apk_wrong'))
})

test('the same operation as REST, as it is described', async () => {
  const headers = { authorization: `Bearer ${served.key}`, 'content-type': 'application/json' }
  const described = await (await fetch(`${served.rest}/openapi.json`, { headers })).json()
  assert.equal(described.servers[0].url, served.rest)
  assert.ok(described.paths['/github/issues.create'].post)
  const body = JSON.stringify({ ...repo, title: 'by REST' })
  const made = await fetch(`${described.servers[0].url}/github/issues.create`, { method: 'POST', headers, body })
  assert.equal(made.status, 200)
  assert.equal((await made.json()).title, 'by REST')
})
