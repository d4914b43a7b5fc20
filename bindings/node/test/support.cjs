'use strict'
// Platforms for tests: real stores, the real engine, scripted models.

const { execFileSync, spawn } = require('node:child_process')
const { mkdtempSync, rmSync, readdirSync, readFileSync } = require('node:fs')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const assert = require('node:assert/strict')
const { Platform, tool } = require('../index.cjs')
const { ScriptedModel } = require('../testing.cjs')

/** A test that hangs fails. */
const LIMIT = { timeout: 30_000 }

/** A folder that is gone after the test. */
function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'agentprovision-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Whether stores are databases on a PostgreSQL server. */
const ON_SERVER = process.env.AGENTPROVISION_TEST_STORE === 'postgres'

/** The databases that stand for files. */
const databases = new Map()

/**
 * Where platforms of a folder keep their data: in a file there, or in a database of its own, in which these statements have
 * made what tools write to.
 */
function storeIn(path, tables = '') {
  if (!ON_SERVER) return `sqlite://${join(path, 'platform.db')}`
  if (!databases.has(path)) {
    const made = execFileSync(process.env.AGENTPROVISION_TEST_DATABASE, [tables], { encoding: 'utf8' })
    databases.set(path, made.trim())
  }
  return databases.get(path)
}

/** An open platform that is closed after the test. */
async function open(t, options) {
  const platform = await Platform.open(options)
  t.after(() => platform.close())
  return platform
}

/** A tenant with its first admin. */
async function home(platform, name = 'acme') {
  const operator = platform.operator('ops@host.example', 'test')
  const tenant = await platform.tenants.create(operator, { name, domain: `${name}.example` })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: `root@${name}.example` })
  const admin = await platform.context(tenant, root)
  const user = async (who, ...roles) => {
    const made = await platform.users.create(admin, { email: `${who}@${name}.example`, roles })
    return platform.context(tenant, made)
  }
  return { operator, tenant, root, admin, user }
}

/** A user who builds and runs agents, in a tenant of its own. */
async function builder(platform, name) {
  return (await home(platform, name)).user('ada', 'agent_manager')
}

/** A deployed agent. */
async function deployed(platform, ctx, spec) {
  const agent = await platform.agents.create(ctx, { name: 'agent', model: 'm', ...spec })
  return platform.agents.deploy(ctx, agent)
}

const PRICE = { input: '1', output: '2' }
const ID = { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] }

/** A model that calls one tool once, then says so. */
const calls = (name, args = {}, then = 'done') => new ScriptedModel('m', [{ tools: [[name, args]] }, then], { price: PRICE })

/** Waits for what is true at some time. */
async function eventually(what, condition) {
  for (let turn = 0; turn < 2_000; turn += 1) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  assert.fail(`it never came that ${what}`)
}

/** A promise and its ends. It keeps the process alive, which an open platform does not. */
function later() {
  const made = {}
  const alive = setInterval(() => {}, 1_000)
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  made.promise.catch(() => {}).finally(() => clearInterval(alive))
  return made
}

/** A program of this folder, in a process of its own. Gives what it printed and how it ended. */
function program(name, { args = [], env = {}, node = [] } = {}) {
  const child = spawn(process.execPath, [...node, join(__dirname, 'programs', name), ...args], {
    env: { ...process.env, NODE_TEST_CONTEXT: '', ...env }, stdio: ['pipe', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  const waiting = new Set()
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said.out += text
    for (const look of waiting) look()
  })
  child.stderr.setEncoding('utf8').on('data', (text) => { said.err += text })
  const watchdog = setTimeout(() => child.kill('SIGKILL'), 25_000)
  const ended = new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(watchdog)
      resolve({ code, signal, ...said })
      for (const look of waiting) look()
    })
  })
  /** Waits for a text in what it prints. */
  const prints = (text) => new Promise((resolve, reject) => {
    const look = () => {
      if (said.out.includes(text)) resolve(said.out)
      else if (child.exitCode !== null || child.signalCode !== null) reject(new Error(`it ended without \`${text}\`: ${said.out}${said.err}`))
      else return
      waiting.delete(look)
    }
    waiting.add(look)
    look()
  })
  return { child, ended, prints }
}

/** Threads of this process, by name where the system says. */
const threads = () => readdirSync('/proc/self/task').length
const handles = () => readdirSync('/proc/self/fd').length
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024

module.exports = {
  LIMIT, PRICE, ID, folder, ON_SERVER, storeIn, open, home, builder, deployed, calls, eventually, later, program, tool, ScriptedModel,
  threads, handles, resident,
}
