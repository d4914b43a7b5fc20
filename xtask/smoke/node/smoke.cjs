// The same package by `require`: a run that streams its answer, in memory.

const assert = require('node:assert/strict')
const { AgentProvisionError, Platform } = require('agentprovision')
const { ScriptedModel } = require('agentprovision/testing')

async function main() {
  const scripted = new ScriptedModel('scripted', ['Hello.'])
  const platform = await Platform.open({ models: [scripted] })
  const operator = platform.operator('ops@host.example', 'smoke test')
  const acme = await platform.tenants.create(operator, { name: 'acme' })
  const root = await platform.tenants.bootstrapAdmin(operator, acme, { email: 'root@acme.example' })
  const ctx = await platform.context(acme, root)
  const agent = await platform.agents.create(ctx, { name: 'greeter', model: 'scripted' })
  await assert.rejects(platform.runs.start(ctx, agent, 'Hi'), AgentProvisionError)
  await platform.agents.deploy(ctx, agent)
  let said = ''
  for await (const event of platform.runs.stream(ctx, agent, 'Hi')) said += event
  assert.match(said, /Hello\./)
  await platform.close()
  console.log(`ok from ${require.resolve('agentprovision')}`)
}

main()
