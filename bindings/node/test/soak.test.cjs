'use strict'
// Many runs in one process: no thread, no handle and no memory is left by a run that is over.
//
// AGENTPROVISION_RUNS shortens it; default 10,000 runs, 1,000 at a time.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { Platform, tool, model } = require('../index.cjs')
const { LIMIT, PRICE, calls, folder, storeIn, open, builder, deployed, threads, handles, resident, eventually } = require('./support.cjs')

const RUNS = Math.max(100, Number(process.env.AGENTPROVISION_RUNS ?? 10_000))
const ATONCE = Math.min(1_000, RUNS / 10)

test(`${RUNS} runs leave nothing behind`, { timeout: 600_000 }, async (t) => {
  const echo = tool({ name: 'echo', effect: 'pure', parameters: { type: 'object' } }, async (args, { signal }) => ({ ...args, late: signal.aborted }))
  const asks = model({ name: 'm', price: PRICE }, ({ messages }) =>
    messages.at(-1).role === 'tool' ? 'done' : { toolCalls: [{ name: 'echo', arguments: { text: 'x' } }] })
  const platform = await open(t, { store: storeIn(folder(t)), tools: [echo], models: [asks] })
  const ctx = await builder(platform)
  const agent = await deployed(platform, ctx, { tools: [echo] })
  let done = 0
  const one = async () => {
    const run = await platform.runs.start(ctx, agent, 'go')
    for await (const event of run) void event
    assert.equal((await run.wait()).text, 'done')
    done += 1
  }
  const many = async (count) => {
    let left = count
    await Promise.all(Array.from({ length: Math.min(ATONCE, count) }, async () => {
      while (left > 0) {
        left -= 1
        await one()
      }
    }))
  }
  const look = async () => {
    for (let turn = 0; turn < 4; turn += 1) {
      global.gc?.()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return { threads: threads(), handles: handles(), resident: resident(), heap: process.memoryUsage().heapUsed }
  }
  const tenth = Math.floor(RUNS / 10)
  // What the store keeps of its pages in memory is bounded, and is there after some thousand runs; it is nobody's run.
  const cold = await look()
  await many(RUNS / 2)
  const warm = await look()
  t.diagnostic(`the store's pages take ${((warm.resident - cold.resident) / 2 ** 20).toFixed(1)} MiB`)
  done = 0
  const started = Date.now()
  await many(tenth)
  const before = await look()
  await many(RUNS - tenth)
  const after = await look()
  const seconds = (Date.now() - started) / 1000
  const each = (what) => ((after[what] - before[what]) / (RUNS - tenth)).toFixed(0)
  t.diagnostic(`${done} runs, ${ATONCE} at a time, in ${seconds.toFixed(1)} s; threads ${before.threads} -> ${after.threads}; handles ${before.handles} -> ` +
    `${after.handles}; resident ${(before.resident / 2 ** 20).toFixed(1)} -> ${(after.resident / 2 ** 20).toFixed(1)} MiB, ` +
    `${each('resident')} bytes a run; heap ${each('heap')} bytes a run`)
  assert.ok(after.threads <= before.threads + 1, 'threads')
  assert.ok(after.handles <= before.handles + 1, 'handles')
  // A short soak says nothing about memory: what is resident grows in steps.
  if (RUNS >= 5_000) assert.ok(after.resident - before.resident <= 2_048 * (RUNS - tenth), 'memory')
})

test('platforms that are closed leave nothing behind', LIMIT, async () => {
  let collected = 0
  const gone = new FinalizationRegistry(() => { collected += 1 })
  const one = async () => {
    const fails = tool({ name: 'fails', parameters: { type: 'object' } }, () => { throw new Error('always') })
    const platform = await Platform.open({ tools: [fails], models: [calls('fails')], authorizer: () => null, subscribers: [() => {}] })
    gone.register(platform)
    gone.register(fails)
    const ctx = await builder(platform)
    await (await platform.runs.start(ctx, await deployed(platform, ctx, { tools: [fails] }), 'go')).wait()
    await platform.close()
  }
  await one()
  const before = { threads: threads(), handles: handles() }
  const PLATFORMS = 40
  for (let turn = 1; turn < PLATFORMS; turn += 1) await one()
  await eventually('all are collected', async () => {
    global.gc()
    return collected === 2 * PLATFORMS
  })
  // The threads of the last ones end in the background.
  await eventually('no thread is left', () => threads() <= before.threads)
  await eventually('no handle is left', () => handles() <= before.handles)
})
