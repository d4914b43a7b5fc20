'use strict'
// The services of a platform: one method per operation. Each names its arguments; the native half checks them.

const { encode, decode, only, signalIn } = require('./json.cjs')
const { ClosedError, InvalidInputError, classes, sync } = require('./errors.cjs')
const { native: callerOf } = require('./context.cjs')
const { Stream, RunStream, Run, Session, readEvent, readChain } = require('./run.cjs')
const { Tool } = require('./host.cjs')
const shapes = require('./shapes.cjs')

const REST = Symbol('rest')

class Service {
  constructor(link) {
    // Not to be seen: it leads to everything a platform holds.
    Object.defineProperty(this, 'link', { value: link, enumerable: false })
  }

  async ask(operation, ctx, args) {
    const { args: shape, answer } = shapes.of(operation)
    const caller = callerOf(ctx, operation)
    const text = encode(args, shape)
    const said = await this.link.call((id) => this.link.native.invoke(id, caller, operation, text))
    return decode(said, answer, `the answer of \`${operation}\``)
  }

  /** Every item of a list, page after page. */
  async *pages(operation, ctx, query) {
    const given = rest(operation, query)
    let { after } = given
    do {
      const page = await this.ask(operation, ctx, { ...given, after })
      yield* page.items
      after = page.next
    } while (after)
  }
}

function rest(operation, given) {
  if (given === undefined) return {}
  if (given === null || typeof given !== 'object' || Array.isArray(given)) {
    throw new InvalidInputError(`\`${operation}\` takes an object here, not ${given === null ? 'null' : typeof given}`)
  }
  return given
}

/** Adds a method per operation: the names of its arguments in order, and REST for an object with all others. */
function methods(Class, service, operations) {
  for (const [name, names] of Object.entries(operations)) {
    const operation = `${service}.${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`
    const method = async function (ctx, ...given) {
      let args = {}
      names.forEach((key, place) => {
        args = key === REST ? { ...rest(operation, given[place]), ...args } : { ...args, [key]: given[place] }
      })
      return this.ask(operation, ctx, args)
    }
    Object.defineProperty(method, 'name', { value: name })
    Object.defineProperty(Class.prototype, name, { value: method, writable: true, configurable: true })
  }
}

class Tenants extends Service {
  iterate(operator, query) { return this.pages('tenants.list', operator, query) }
}
methods(Tenants, 'tenants', {
  create: [REST], get: ['tenant'], list: [REST], own: [], update: ['tenant', REST], suspend: ['tenant'],
  resume: ['tenant'], delete: ['tenant', REST], bootstrapAdmin: ['tenant', REST],
})

class Archives extends Service {}
methods(Archives, 'archives', { export: ['tenant', 'path'], verify: ['path'], restore: ['path', REST] })

class Backups extends Service {
  iterate(operator, tenant, query) { return this.pages('backups.list', operator, { ...rest('backups.list', query), tenant }) }
}
methods(Backups, 'backups', { run: ['tenant'], list: ['tenant', REST], get: ['tenant', 'backup'] })
class Placements extends Service {
  iterate(operator, query) { return this.pages('placements.list', operator, query) }
}
methods(Placements, 'placements', {
  get: ['tenant'], list: [REST], plan: [], moveTenant: ['tenant', 'to'], pin: ['tenant', 'shard'],
})

class Users extends Service {
  iterate(ctx, query) { return this.pages('users.list', ctx, query) }
}
methods(Users, 'users', {
  create: [REST], get: ['user'], list: [REST], update: ['user', REST], delete: ['user'],
})

class Keys extends Service {
  iterate(ctx, query) { return this.pages('keys.list', ctx, query) }
  iterateOwn(ctx, query) { return this.pages('keys.list_own', ctx, query) }
}
methods(Keys, 'keys', { create: [REST], get: ['key'], list: [REST], listOwn: [REST], revoke: ['key'] })

class Agents extends Service {
  iterate(ctx, query) { return this.pages('agents.list', ctx, query) }

  async validate(ctx, spec) { return this.ask('agents.validate', ctx, { spec: named(spec) }) }
  async create(ctx, spec) { return this.ask('agents.create', ctx, { spec: named(spec) }) }
  async update(ctx, agent, spec) { return this.ask('agents.update', ctx, { agent, spec: named(spec) }) }
}
methods(Agents, 'agents', {
  get: ['agent'], version: ['agent', 'version'], list: [REST], deploy: ['agent'], rollback: ['agent', 'to'],
  pause: ['agent'], resume: ['agent'], retire: ['agent'], delete: ['agent'],
})

/** A specification whose tools and model may be given as themselves. */
function named(spec) {
  const { tools, model } = rest('the specification of an agent', spec)
  const name = (part) => (part !== null && typeof part === 'object' && typeof part.name === 'string' ? part.name : part)
  return {
    ...spec,
    ...(Array.isArray(tools) ? { tools: tools.map((part) => (part instanceof Tool ? part.name : part)) } : {}),
    ...(model === undefined ? {} : { model: name(model) }),
  }
}

class Runs extends Service {
  iterate(ctx, query) { return this.pages('runs.list', ctx, query) }

  async start(ctx, agent, input, options) {
    return (await this.begin('runs.start', ctx, { agent, input }, options)).handle
  }

  /** Starts a run and gives its events. */
  stream(ctx, agent, input, options) {
    const start = () => this.begin('runs.start', ctx, { agent, input }, options)
    return new RunStream(this.link, start, options?.signal)
  }

  async get(ctx, run) { return (await this.begin('runs.get', ctx, { run })).handle }

  events(ctx, run, options) {
    const { after, signal } = only(['after', 'signal'], options)
    const open = () => this.open('runs.events', ctx, { run, after })
    return new Stream(this.link, open, readEvent, signal)
  }

  async chain(ctx, run) { return readChain(await this.text('runs.chain', ctx, { run })) }

  async text(operation, ctx, args) {
    const caller = callerOf(ctx, operation)
    const text = encode(args, shapes.of(operation).args)
    return this.link.call((id) => this.link.native.invoke(id, caller, operation, text))
  }

  async open(operation, ctx, args) {
    const caller = callerOf(ctx, operation)
    const text = encode(args, shapes.of(operation).args)
    return this.link.call((id) => this.link.native.stream(id, caller, operation, text))
  }

  /** Starts or finds a run, which the signal cancels. */
  async begin(operation, ctx, args, options) {
    const { signal: given, ...others } = rest(operation, options)
    const signal = signalIn(given)
    signal?.throwIfAborted()
    const caller = callerOf(ctx, operation)
    if (signal && !sync(() => this.link.native.can(caller, 'runs:cancel'))) {
      // Said now: when it aborts, nobody is there to be told.
      throw new classes.permission_denied('a run that a `signal` cancels needs the permission `runs:cancel`', { operation })
    }
    const text = encode({ ...others, ...args }, shapes.of(operation).args)
    const native = await this.link.call((id) => this.link.native.start(id, caller, operation, text))
    const handle = new Run(this.link, this, ctx, native)
    if (signal) await this.#cancelBy(signal, ctx, handle)
    return { native, handle }
  }

  async #cancelBy(signal, ctx, handle) {
    const cancel = () => this.cancel(ctx, handle.id).catch((error) => {
      // Over by now, or left to whoever opens the store next: what it came to is seen by whoever waits for it.
      if (error instanceof classes.conflict || error instanceof ClosedError) return
      process.emitWarning(`the run \`${handle.id}\` could not be cancelled by its signal: ${error?.message}`, {
        type: 'AgentProvisionWarning', code: error?.code,
      })
    })
    if (signal.aborted) {
      await cancel()
      throw signal.reason
    }
    signal.addEventListener('abort', cancel, { once: true })
    // A handle of its own, which watches the end and nothing else: a signal may outlive many runs.
    const forget = () => signal.removeEventListener('abort', cancel)
    const text = encode({ run: handle.id })
    const caller = callerOf(ctx, 'runs.get')
    this.link
      .call((id) => this.link.native.start(id, caller, 'runs.get', text), true)
      .then((native) => this.link.call((id) => native.wait(id), true))
      .then(forget)
      .catch((error) => {
        // Whoever may not look at the run may still cancel it; of a closed platform nobody can.
        if (error instanceof ClosedError) forget()
      })
  }
}
methods(Runs, 'runs', {
  record: ['run'], list: [REST], journal: ['run'], cancel: ['run'], approve: ['run', REST],
})

class Sessions extends Service {
  #runs

  constructor(link, runs) {
    super(link)
    this.#runs = runs
  }

  iterate(ctx, query) { return this.pages('sessions.list', ctx, query) }

  async open(ctx, agent) { return new Session(this, ctx, await this.ask('sessions.open', ctx, { agent })) }
  async get(ctx, session) { return new Session(this, ctx, await this.ask('sessions.get', ctx, { session })) }

  /** Starts the next turn of a session. */
  async send(ctx, session, input, options) {
    return (await this.#runs.begin('sessions.send', ctx, { session, input }, options)).handle
  }
}
methods(Sessions, 'sessions', { list: [REST] })

class Audit extends Service {}
methods(Audit, 'audit', {
  entries: [REST], checkpoint: [], prove: [REST], consistency: [REST], verify: [], platformEntries: [REST],
  verifyPlatform: [],
})

class Usage extends Service {}
methods(Usage, 'usage', { summary: [REST], events: [REST] })

class Events extends Service {
  /** Events as they are committed, after a number or from now on. */
  subscribe(ctx, options) {
    const { after, signal } = only(['after', 'signal'], options)
    const { answer } = shapes.of('events.subscribe')
    const caller = callerOf(ctx, 'events.subscribe')
    const text = encode({ after })
    const open = () => this.link.call((id) => this.link.native.stream(id, caller, 'events.subscribe', text))
    return new Stream(this.link, open, (item) => decode(item, answer, 'the event'), signal)
  }
}
methods(Events, 'events', { read: [REST] })

class Models extends Service {
  /** The names of models that are known: those of the host, and of each provider what the catalogue has. */
  names() {
    this.link.check()
    return JSON.parse(sync(() => this.link.native.models()))
  }

  explain(ctx, model, messages, options) { return this.#ask('models.explain', ctx, { model, messages }, options) }
  complete(ctx, model, messages, options) { return this.#ask('models.complete', ctx, { model, messages }, options) }
  compare(ctx, models, messages, options) { return this.#ask('models.compare', ctx, { models, messages }, options) }
  embed(ctx, model, inputs, options) { return this.#ask('models.embed', ctx, { model, inputs }, options) }

  rerank(ctx, model, query, documents, options) {
    return this.#ask('models.rerank', ctx, { model, query, documents }, options)
  }

  /** The answer in pieces, and then what was spent. */
  stream(ctx, model, messages, options) {
    const { signal, ...others } = rest('models.stream', options)
    const { args: shape, answer } = shapes.of('models.stream')
    const caller = callerOf(ctx, 'models.stream')
    const text = encode({ ...others, model, messages }, shape)
    const open = () => this.link.call((id) => this.link.native.stream(id, caller, 'models.stream', text))
    return new Stream(this.link, open, (item) => decode(item, answer, 'the event'), signal)
  }

  /** A request that the signal ends. */
  async #ask(operation, ctx, args, options) {
    const { signal, ...others } = rest(operation, options)
    const { args: shape, answer } = shapes.of(operation)
    const caller = callerOf(ctx, operation)
    const text = encode({ ...others, ...args }, shape)
    const said = await this.link.wait((id) => this.link.native.ask(id, caller, operation, text), signalIn(signal))
    return decode(said, answer, `the answer of \`${operation}\``)
  }
}
methods(Models, 'models', { list: [] })

class Connectors extends Service {}
methods(Connectors, 'connectors', { list: [], get: ['name'] })

class Integrations extends Service {
  iterate(ctx, query) { return this.pages('integrations.list', ctx, query) }

  /** Calls an operation. The signal ends the wait, and the call with it. */
  async invoke(ctx, integration, operation, input, options) {
    const { signal, ...others } = rest('integrations.invoke', options)
    const { args: shape, answer } = shapes.of('integrations.invoke')
    const caller = callerOf(ctx, 'integrations.invoke')
    const text = encode({ ...others, integration, operation, input }, shape)
    const ask = (id) => this.link.native.ask(id, caller, 'integrations.invoke', text)
    const said = await this.link.wait(ask, signalIn(signal))
    return decode(said, answer, `the answer of \`${operation}\``)
  }
}
methods(Integrations, 'integrations', {
  create: [REST], get: ['integration'], list: [REST], update: ['integration', REST], delete: ['integration'],
  test: ['integration'], authorize: ['integration', REST], connect: ['integration', REST],
})

class Webhooks extends Service {
  iterate(ctx, query) { return this.pages('webhooks.list', ctx, query) }

  /** Takes a delivery, and says how to answer it. */
  async receive(address, headers, body) {
    if (!(body instanceof Uint8Array)) throw new InvalidInputError('`body` is a Uint8Array: the bytes as they came')
    const { args: shape, answer } = shapes.of('webhooks.receive')
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    const text = encode({ address, headers: pairs(headers), body: bytes.toString('base64') }, shape)
    const said = await this.link.call((id) => this.link.native.receive(id, text))
    return decode(said, answer, 'the answer of `webhooks.receive`')
  }
}
methods(Webhooks, 'webhooks', {
  create: [REST], get: ['endpoint'], list: [REST], update: ['endpoint', REST], rotate: ['endpoint', REST],
  delete: ['endpoint'], deliveries: ['endpoint', REST], delivery: ['delivery'], replay: ['delivery'],
})

/** Headers as pairs: of `Headers`, of a `Map`, of pairs, or of an object as `node:http` has it. */
function pairs(headers) {
  if (headers === null || typeof headers !== 'object') throw new InvalidInputError('`headers` is an object, or pairs')
  if (typeof headers[Symbol.iterator] === 'function') return [...headers]
  return Object.entries(headers).flatMap(([name, value]) => {
    if (value === undefined) return []
    return Array.isArray(value) ? value.map((one) => [name, one]) : [[name, value]]
  })
}

module.exports = {
  Webhooks, Connectors, Integrations, Tenants, Archives, Backups, Placements, Users, Keys, Agents, Runs, Sessions, Audit, Usage, Events, Models,
}
