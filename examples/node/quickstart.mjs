// The main job, end to end, on the embedded default: no server, no key.
//
// Provisions two tenants, lets a permitted user create and deploy an agent, runs it on a GitHub issue with a tool,
// streams the answer, prints every step with its cost, and verifies the audit log.
//
//     node examples/node/quickstart.mjs [--store URL] [--issue FILE] [--json]
//
// With OPENAI_API_KEY in the environment it talks to OpenAI; without, to a small model on loopback.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

// In a program of your own: from 'agentprovision'.
import { AgentProvisionError, Platform, tool } from '../../bindings/node/index.mjs'
import { loopbackModel } from './support.mjs'

const MODEL = 'gpt-4o-mini'

const { values: options } = parseArgs({
  options: { store: { type: 'string' }, issue: { type: 'string' }, json: { type: 'boolean', default: false } },
})
const say = (/** @type {string} */ line) => {
  if (!options.json) console.log(line)
}

const { issue } = JSON.parse(await readFile(options.issue ?? new URL('../data/issue.json', import.meta.url), 'utf8'))
if (!Number.isInteger(issue?.number) || typeof issue?.title !== 'string') {
  throw new Error('the file is no GitHub `issues` webhook: it has no issue with a number and a title')
}

// Without a URL, a file that is gone afterwards.
const folder = await mkdtemp(join(tmpdir(), 'agentprovision-'))
const store = options.store ?? `sqlite://${join(folder, 'quickstart.db')}`
const provider = process.env.OPENAI_API_KEY ? 'openai' : 'loopback'
say(`store     ${store}`)
say(
  provider === 'openai'
    ? `model     ${MODEL} by OpenAI`
    : `model     a small model on loopback in the place of ${MODEL}, since OPENAI_API_KEY is not set`,
)

const lookupIssue = tool(
  {
    name: 'lookup_issue',
    description: 'Find an issue by its number',
    effect: 'pure',
    parameters: {
      type: 'object',
      properties: { number: { type: 'integer', description: 'The number of the issue.' } },
      required: ['number'],
    },
  },
  ({ number }) => {
    if (number !== issue.number) throw new Error(`there is no issue ${number}`)
    const { title, body, state, comments } = issue
    return { number, title, body, state, comments }
  },
)

/** The code of the error that must come. @param {Promise<unknown>} call */
const refusal = (call) => call.then(
  () => Promise.reject(new Error('something went through that must be refused')),
  (error) => {
    if (error instanceof AgentProvisionError) return error.code
    throw error
  },
)

const platform = await Platform.open({
  store,
  providers: provider === 'openai' ? ['openai'] : [{ type: 'openai', baseUrl: await loopbackModel() }],
  secrets: provider === 'openai' ? {} : { OPENAI_API_KEY: 'no-key' },
  tools: [lookupIssue],
})
try {
  // Two tenants, each with its first admin. An operator makes them and can do nothing inside them.
  const operator = platform.operator('ops@host.example', 'sign-up')
  const mark = randomBytes(6).toString('hex')
  const provision = async (/** @type {string} */ name) => {
    const tenant = await platform.tenants.create(operator, { name, domain: `${name}-${mark}.example` })
    const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: `root@${name}.example` })
    say(`tenant    ${tenant.id} ${tenant.name}`)
    return { tenant, root }
  }
  const acme = await provision('acme')
  const globex = await provision('globex')
  const admin = await platform.context(acme.tenant, acme.root)

  // A user who may build and run agents, and one who may only look at them.
  const ada = await platform.users.create(admin, { email: 'ada@acme.example', roles: ['agent_manager'] })
  const vic = await platform.users.create(admin, { email: 'vic@acme.example', roles: ['agent_viewer'] })
  const ctx = await platform.context(acme.tenant, ada)

  const agent = await platform.agents.create(ctx, {
    name: 'triage',
    instructions: 'Look the issue up, label it, and write a two-line summary.',
    model: MODEL,
    tools: [lookupIssue],
    budget: { perRun: { costUsd: '0.05' } },
  })
  await platform.agents.deploy(ctx, agent)
  say(`agent     ${agent.id} ${agent.name} version ${agent.latest.slice(0, 12)}`)

  const run = await platform.runs.start(ctx, agent, `Issue #${issue.number} was opened: ${issue.title}`, {
    idempotencyKey: `issue-${issue.number}`,
  })
  say(`run       ${run.id}\n`)
  for await (const event of run) {
    if (!options.json) process.stdout.write(String(event))
  }
  const outcome = await run.wait()
  say(`\n${outcome.chain}\n`)

  // What is refused: another tenant's agent is not there, and looking is not running.
  const foreign = await platform.context(globex.tenant, globex.root)
  const viewer = await platform.context(acme.tenant, vic)
  const refused = {
    cross_tenant: await refusal(platform.agents.get(foreign, agent)),
    missing_permission: await refusal(platform.runs.start(viewer, agent, 'hello')),
  }
  say(`refused   another tenant reads the agent: ${refused.cross_tenant}`)
  say(`refused   a viewer starts a run: ${refused.missing_permission}`)

  const usage = await platform.usage.summary(admin)
  const meters = Object.entries(usage.meters).map(([meter, quantity]) => `${meter} ${quantity}`)
  say(`\nusage     ${meters.join(', ')}, cost ${usage.costUsd} USD\n`)
  let events = 0
  for (let more = true; more;) {
    const page = await platform.events.read(admin, { after: events, limit: 500 })
    events = page.at(-1)?.seq ?? events
    more = page.length > 0
  }
  const head = await platform.audit.verify(admin)
  say(`events    ${events}`)
  say(`audit     ${head.size} records, verified, root ${head.root}`)

  if (options.json) {
    const report = {
      provider,
      tenants: [acme, globex].map(({ tenant: { id, name, domain } }) => ({ id, name, domain })),
      run: {
        id: run.id, status: outcome.status, output: outcome.error ? null : outcome.text, cost_usd: outcome.record.costUsd,
        steps: outcome.chain.steps.map(({ kind, name, durationMs, inputTokens, outputTokens, costUsd }) => ({
          kind, name, duration_ms: durationMs, input_tokens: inputTokens, output_tokens: outputTokens, cost_usd: costUsd,
        })),
      },
      refused,
      audit: { size: head.size, root: head.root, verified: true },
      usage: { meters: usage.meters, cost_usd: usage.costUsd },
      events,
    }
    console.log(JSON.stringify(report))
  }
  if (outcome.error) throw outcome.error
} finally {
  await platform.close()
  await rm(folder, { recursive: true, force: true })
}
