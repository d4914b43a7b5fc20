// Connectors from Node: an issue at GitHub becomes one in Jira, with a note back and a message in Slack.
//
//     node examples/node/connectors.mjs EMULATOR
//
// `EMULATOR` is the program that emulates the three services, on which requests fail and are tried again:
// `cargo build -p agentprovision-connectors --features emulator --example emulator` puts it into `target/debug/examples`.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

// In a program of your own: from 'agentprovision'.
import { Platform } from '../../bindings/node/index.mjs'

/** Copies the issue to Jira and says so in both places; the key of the new issue. */
async function task(platform, ctx, at) {
  const [owner, repo] = at.github.repository.split('/')
  const issue = { owner, repo, issue_number: at.github.issue }
  const made = {}
  for (const [name, credentials] of [
    ['github', { token: at.github.token }],
    ['jira', { username: at.jira.username, password: at.jira.password }],
    ['slack', { token: at.slack.token }],
  ]) {
    const settings = { base_url: at[name].url }
    made[name] = await platform.integrations.create(ctx, { name, connector: name, settings, credentials })
    assert.ok((await platform.integrations.test(ctx, made[name])).healthy)
  }
  const { integrations } = platform
  const found = await integrations.invoke(ctx, made.github, 'issues.get', issue)
  const fields = { project: { key: at.jira.project }, issuetype: { name: 'Bug' }, summary: found.title }
  // A key of one's own: whoever asks again with it gets the same answer, and no second issue.
  const once = { idempotencyKey: `issue-${found.id}` }
  await integrations.invoke(ctx, made.jira, 'issues.create', { fields }, once)
  const { key } = await integrations.invoke(ctx, made.jira, 'issues.create', { fields }, once)
  await integrations.invoke(ctx, made.github, 'comments.create', { ...issue, body: `See ${key}.` })
  const message = { channel: at.slack.channel, text: `${found.title}: ${key}` }
  await integrations.invoke(ctx, made.slack, 'chat.post_message', message)
  return key
}

const emulator = spawn(process.argv[2], ['--faults'], { stdio: ['pipe', 'pipe', 'inherit'] })
const lines = createInterface({ input: emulator.stdout })[Symbol.asyncIterator]()
const line = async () => JSON.parse((await lines.next()).value)
const at = await line()
const networks = [{ name: 'loopback', ranges: ['127.0.0.0/8'], plainHttp: true, anyPort: true }]
const platform = await Platform.open({ connectors: { enabled: ['github', 'jira', 'slack'], networks } })
try {
  const operator = platform.operator('ops@host.example', 'example')
  const tenant = await platform.tenants.create(operator, { name: 'acme', domain: 'acme.example' })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'root@acme.example' })
  const key = await task(platform, await platform.context(tenant, root), at)
  emulator.stdin.write('\n')
  const became = await line()
  assert.deepEqual(became.issues.map((issue) => issue.key), [key])
  assert.deepEqual(became.comments.map((comment) => comment.body), [`See ${key}.`])
  assert.deepEqual(became.messages.map((message) => message.text), [`The checkout burns: ${key}`])
  console.log(`made ${key}, one comment and one message, by ${became.requests} requests of which some failed`)
} finally {
  emulator.stdin.end()
  await platform.close()
}
