'use strict'
// The platform: the configuration goes through untouched, so that a new option needs nothing here.

const { inspect } = require('node:util')
const { encode, snake, twice } = require('./json.cjs')
const { InvalidInputError, classes, sync } = require('./errors.cjs')
const { Context, OperatorContext } = require('./context.cjs')
const { Tool, Model, calledBy, functions } = require('./host.cjs')
const { Connector } = require('./connector.cjs')
const { Link } = require('./link.cjs')
const { ManualClock, ScriptedModel } = require('./testing.cjs')
const services = require('./services.cjs')
const shapes = require('./shapes.cjs')

const MADE_BY_OPEN = Symbol('open')
/** The option of the package's own benchmark: a tool written in Rust. */
const BENCH = Symbol('bench')

class Platform {
  #link
  #closing

  constructor(link, by) {
    if (by !== MADE_BY_OPEN) throw new InvalidInputError('a platform is opened by `await Platform.open(…)`')
    this.#link = link
    const runs = new services.Runs(link)
    const own = {
      tenants: new services.Tenants(link), archives: new services.Archives(link),
      backups: new services.Backups(link), placements: new services.Placements(link),
      users: new services.Users(link), keys: new services.Keys(link),
      agents: new services.Agents(link), runs, sessions: new services.Sessions(link, runs),
      audit: new services.Audit(link), usage: new services.Usage(link), events: new services.Events(link),
      models: new services.Models(link), connectors: new services.Connectors(link),
      integrations: new services.Integrations(link), webhooks: new services.Webhooks(link),
    }
    for (const [name, value] of Object.entries(own)) Object.defineProperty(this, name, { value, enumerable: true })
  }

  /** Opens a platform: its configuration, and what is written in JavaScript. */
  static async open(options = {}) {
    const given = typeof options === 'string' ? { store: options } : options
    if (given === null || typeof given !== 'object' || Array.isArray(given)) {
      throw new InvalidInputError('a platform is opened with its options as an object, or with the URL of its store')
    }
    const { tools = [], models = [], authorizer, subscribers = [], connectors, secrets = {}, clock, ...config } = given
    list('tools', tools, (part) => part instanceof Tool, '`tool(…)`')
    list('models', models, (part) => part instanceof Model || part instanceof ScriptedModel, '`model(…)`')
    list('subscribers', subscribers, (part) => typeof part === 'function', 'a function')
    if (authorizer != null && typeof authorizer !== 'function') throw new InvalidInputError('`authorizer` is not a function')
    if (clock != null && !(clock instanceof ManualClock)) throw new InvalidInputError('`clock` is not a `ManualClock`')
    const { own, config: connected } = connectorsIn(connectors)
    if (connected) config.connectors = connected
    const written = models.filter((part) => part instanceof Model)
    const parts = [
      encode(tools.map((part) => part.spec), { items: shapes.given('ToolSpec') }, 'tools'),
      encode(own.map((part) => part.spec), { items: shapes.given('ConnectorSpec') }, 'connectors'),
      encode(written.map((part) => part.info), { items: shapes.given('ModelInfo') }, 'models'),
    ]
    const text = `{"tools":${parts[0]},"connectors":${parts[1]},"models":${parts[2]},"authorizer":${authorizer != null},` +
      `"subscribers":${subscribers.length},"bench":${given[BENCH] === true}}`
    const settings = encode(underscored(config))
    const kept = encode(texts(secrets), undefined, 'secrets')

    const link = new Link()
    link.serve(functions(link, (caller) => new Context(link, caller), {
      tools, connectors: own, models: written, authorizer: authorizer ?? undefined, subscribers,
    }))
    try {
      if (clock != null) link.native.setClock(ManualClock.native(clock))
      for (const part of models) if (part instanceof ScriptedModel) link.native.addModel(ScriptedModel.native(part))
      await link.call((id) => link.native.open(id, settings, kept, text))
    } catch (error) {
      link.retire()
      throw error
    }
    return new Platform(link, MADE_BY_OPEN)
  }

  /** A context above the tenants: who acts, and why. */
  operator(actor, reason) {
    this.#link.check()
    const text = encode({ actor, reason })
    return new OperatorContext(this.#link, sync(() => this.#link.native.operator(text)))
  }

  /** A context for a user whom the host has authenticated itself. */
  context(tenant, user, info) { return this.#context('platform.context', { tenant, user, info }) }

  /** A context for whoever an API key belongs to. */
  async authenticate(apiKey, info) {
    // Looked at here: what it is instead may still be a secret, and messages of the native half quote what they get.
    if (apiKey !== undefined && typeof apiKey !== 'string') throw new InvalidInputError('`apiKey` is not text')
    return this.#context('platform.authenticate', { apiKey, info })
  }

  async #context(operation, args) {
    const text = encode(args, shapes.of(operation).args)
    return new Context(this.#link, await this.#link.call((id) => this.#link.native.context(id, operation, text)))
  }

  /** Stops taking up runs, lets steps under way end for a while, and closes the store. Closing twice is harmless. */
  close() {
    if (!this.#closing && calledBy(this.#link)) {
      // It would wait for the function, and the function for it.
      const why = 'a platform is not closed within a function that it waits for; close it when the call is over'
      return Promise.reject(new classes.conflict(why, { operation: 'platform.close' }))
    }
    this.#closing ??= this.#link
      .call((id) => this.#link.native.close(id))
      .then(() => {})
      .finally(() => this.#link.retire())
    return this.#closing
  }

  [inspect.custom]() { return 'Platform {}' }
}
// Node 20 before 20.5 has no such symbol.
if (Symbol.asyncDispose) {
  Platform.prototype[Symbol.asyncDispose] = async function () {
    await this.close()
  }
}

// No message says what they are.
function texts(secrets) {
  if (secrets === null || typeof secrets !== 'object' || Array.isArray(secrets)) {
    throw new InvalidInputError('`secrets` is not an object of texts')
  }
  for (const [name, value] of Object.entries(secrets)) {
    if (value !== undefined && typeof value !== 'string') throw new InvalidInputError(`\`secrets.${name}\` is not text`)
  }
  return secrets
}

/** What the configuration says of connectors, and those of the host's own among them. */
function connectorsIn(given) {
  if (given == null) return { own: [] }
  if (typeof given !== 'object') throw new InvalidInputError('`connectors` is an array, or an object with an array `enabled`')
  const config = Array.isArray(given) ? {} : { ...given }
  const named = Array.isArray(given) ? given : given.enabled ?? []
  list('connectors', named, (part) => typeof part === 'string' || part instanceof Connector, 'a name or `connector(…)`')
  const own = named.filter((part) => part instanceof Connector)
  config.enabled = named.filter((part) => typeof part === 'string')
  return { own, config }
}

function list(name, given, fits, what) {
  if (!Array.isArray(given)) throw new InvalidInputError(`\`${name}\` is not an array`)
  given.forEach((part, index) => {
    if (!fits(part)) throw new InvalidInputError(`\`${name}[${index}]\` is not ${what}`)
  })
}

// What is below these has names of models, routes and tenants for keys.
const BY_NAME = new Set([
  'routing.routes', 'routing.fallbacks', 'routing.quality', 'routing.regions', 'routing.tenants',
  'layers.budgets.tenant_time_zones', 'connectors.apps',
])

// All other keys of a configuration are its own, so they are renamed.
function underscored(value, path = '') {
  if (Array.isArray(value)) return value.map((item) => underscored(item, path))
  // A catalogue is a file's content, as it is.
  if (path === 'catalog' || value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) {
    return value
  }
  const renamed = new Map()
  for (const [key, inner] of Object.entries(value)) {
    if (inner === undefined) continue
    const name = BY_NAME.has(path) ? key : snake(key)
    if (renamed.has(name)) throw twice(key, name, key)
    renamed.set(name, underscored(inner, path === '' ? name : `${path}.${name}`))
  }
  return Object.fromEntries(renamed)
}

module.exports = { Platform, BENCH }
