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

/**
 * Copies the issue to Jira and says so in both places; the key of the new issue.
 *
 * @param {Platform} platform
 * @param {import('../../bindings/node/index.mjs').Context} ctx
 * @param {any} at
 * @returns {Promise<string>}
 */
async function task(platform, ctx, at) {
  const [owner, repo] = at.github.repository.split('/')
  const issue = { owner, repo, issue_number: at.github.issue }
  /** @param {string} name @param {Record<string, string>} credentials */
  const connected = async (name, credentials) => {
    const settings = { base_url: at[name].url }
    const made = await platform.integrations.create(ctx, { name, connector: name, settings, credentials })
    assert.ok((await platform.integrations.test(ctx, made)).healthy)
    return made
  }
  const github = await connected('github', { token: at.github.token })
  const jira = await connected('jira', { username: at.jira.username, password: at.jira.password })
  const slack = await connected('slack', { token: at.slack.token })

  const { integrations } = platform
  const found = await integrations.invoke(ctx, github, 'issues.get', issue)
  const fields = { project: { key: at.jira.project }, issuetype: { name: 'Bug' }, summary: found.title }
  // A key of one's own: whoever asks again with it gets the same answer, and no second issue.
  const once = { idempotencyKey: `issue-${found.id}` }
  await integrations.invoke(ctx, jira, 'issues.create', { fields }, once)
  const { key } = await integrations.invoke(ctx, jira, 'issues.create', { fields }, once)
  await integrations.invoke(ctx, github, 'comments.create', { ...issue, body: `See ${key}.` })
  await integrations.invoke(ctx, slack, 'chat.post_message', { channel: at.slack.channel, text: `${found.title}: ${key}` })
  return key
}

const emulator = spawn(process.argv[2] ?? 'emulator', ['--faults'], { stdio: ['pipe', 'pipe', 'inherit'] })
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
  /** @param {any[]} things @param {string} name */
  const all = (things, name) => things.map((thing) => thing[name])
  assert.deepEqual(all(became.issues, 'key'), [key])
  assert.deepEqual(all(became.comments, 'body'), [`See ${key}.`])
  assert.deepEqual(all(became.messages, 'text'), [`The checkout burns: ${key}`])
  console.log(`made ${key}, one comment and one message, by ${became.requests} requests of which some failed`)
} finally {
  emulator.stdin.end()
  await platform.close()
}
