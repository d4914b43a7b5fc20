'use strict'
// What the host writes and the platform calls: tools, models, authorizers and subscribers.

const { AsyncLocalStorage } = require('node:async_hooks')
const { isUint8Array } = require('node:util').types
const { encode, decode, only } = require('./json.cjs')
const { InvalidInputError, classes, toRecord } = require('./errors.cjs')
const shapes = require('./shapes.cjs')

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)
const isFunction = (value) => typeof value === 'function'

/** A tool: what it is, and the function. */
class Tool {
  constructor(name, spec, run) {
    this.name = name
    this.spec = spec
    this.run = run
    Object.freeze(this)
  }
}

/** A chat model of the host's own. */
class Model {
  constructor(info, run) {
    this.name = info.name
    this.info = info
    this.run = run
    Object.freeze(this)
  }
}

/** Makes a tool from a function of its arguments and the call. */
function tool(definition, run) {
  if (!isObject(definition)) throw new InvalidInputError('a tool is described by an object')
  if (!isFunction(run)) throw new InvalidInputError('a tool is a function: give it after the description')
  const { schema, parameters, ...rest } = definition
  if (schema !== undefined && parameters !== undefined) {
    throw new InvalidInputError('a tool has `schema` or `parameters`, not both')
  }
  if (typeof rest.name !== 'string') throw new InvalidInputError('a tool has a `name`')
  const given = schema ?? parameters ?? { type: 'object', properties: {}, additionalProperties: false }
  const described = jsonSchema(`the schema of the tool \`${rest.name}\``, given)
  const spec = { description: '', ...rest, inputSchema: described }
  const check = checker(given)
  return new Tool(rest.name, spec, check ? async (args, call) => run(await check(args), call) : run)
}

/** The JSON Schema in what describes arguments; `what` names it in messages. */
function jsonSchema(what, given) {
  if (!isObject(given) && !isFunction(given)) {
    throw new InvalidInputError(`${what} is a JSON Schema, or an object that has one`)
  }
  const standard = given['~standard']?.jsonSchema
  if (isFunction(standard?.input)) return standard.input({ target: 'draft-2020-12' })
  if (isFunction(given.toJSONSchema)) return given.toJSONSchema()
  if (!checker(given)) return given
  if (isObject(given.schema)) return given.schema
  throw new InvalidInputError(`${what} checks values but has no JSON Schema; give one beside it as \`schema\``)
}

/** The check in what describes a tool's arguments, where it has one: it gives the arguments as the tool takes them. */
function checker(given) {
  const refuse = (issues) => {
    const say = (issue) => {
      const path = (issue.path ?? []).map((part) => (isObject(part) ? part.key : part)).join('.')
      return path ? `${issue.message} at \`${path}\`` : String(issue.message)
    }
    throw new InvalidInputError(`the arguments do not match: ${[...issues].slice(0, 5).map(say).join('; ')}`)
  }
  if (isFunction(given['~standard']?.validate)) {
    return async (args) => {
      const result = await given['~standard'].validate(args)
      return result.issues ? refuse(result.issues) : result.value
    }
  }
  if (isFunction(given.safeParse)) {
    return (args) => {
      const result = given.safeParse(args)
      return result.success ? result.data : refuse(result.error?.issues ?? [{ message: String(result.error) }])
    }
  }
  if (isFunction(given.parse)) return (args) => given.parse(args)
  return undefined
}

/** Makes a chat model from a function of a request. */
function model(info, run) {
  if (!isObject(info) || typeof info.name !== 'string') throw new InvalidInputError('a model has a `name`')
  if (!isFunction(run)) throw new InvalidInputError('a model is a function: give it after the description')
  return new Model(info, run)
}

/** Something a platform asks, and what the answer means. */
class Call {
  #link
  #native
  #ctx
  #made
  #signal

  constructor(link, native, context) {
    this.#link = link
    this.#native = native
    this.#ctx = context
  }

  /** Who the call is for. */
  get ctx() {
    this.#made ??= this.#ctx(this.#native.caller())
    return this.#made
  }

  /** Aborts when nobody waits any more for the answer: the run was cancelled, or its time is over. */
  get signal() {
    if (!this.#signal) {
      const controller = new AbortController()
      this.#signal = controller.signal
      this.#link.whenGone(this.#native, () => {
        controller.abort(new classes.cancelled('nobody waits for the answer of this call any more'))
      })
    }
    return this.#signal
  }
}

/** The call of a tool. */
class ToolCall extends Call {
  #tx

  constructor(link, native, context) {
    super(link, native, context)
    const facts = decode(native.facts(), undefined, 'the call')
    this.run = facts.run
    this.step = facts.step
    this.idempotencyKey = facts.idempotency_key
    this.deadline = facts.deadline
    this.#tx = new Transaction(link, native)
  }

  /** The transaction of the step, of a transactional tool. */
  get tx() { return this.#tx }
}

/** The call of an operation of a connector. */
class ConnectorCall extends Call {
  #link
  #native

  constructor(link, native, context) {
    super(link, native, context)
    this.#link = link
    this.#native = native
    const facts = decode(native.operation(), undefined, 'the call')
    this.operation = facts.operation
    this.integration = facts.integration.id
    this.settings = facts.settings
    this.idempotencyKey = facts.idempotency_key
    this.run = facts.run
    this.agent = facts.agent
    this.deadline = facts.deadline
  }

  /** The integration's credentials by their fields, which no printing of the call shows. */
  get credentials() { return JSON.parse(this.#native.credentials()) }

  /** Sends a request as the integration. */
  async send(method, path, options) {
    const { params, json, body, headers, check } = only(['params', 'json', 'body', 'headers', 'check'], options)
    if (body !== undefined && typeof body !== 'string' && !isUint8Array(body)) {
      throw new InvalidInputError('a `body` is text, or bytes in a Uint8Array; see `json`')
    }
    const text = encode({ method, path, params, json, headers, check, body: isUint8Array(body) ? bytes(body) : body })
    return new Response(JSON.parse(await this.#link.call((id) => this.#native.send(id, text))))
  }
}

/** What a service answered. */
class Response {
  constructor({ status, headers, body }) {
    this.status = status
    this.headers = headers
    this.body = typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.$bytes, 'base64')
    Object.freeze(this)
  }

  /** The body as text in UTF-8. */
  get text() { return this.body.toString() }

  /** The body as JSON. */
  json() {
    try {
      return JSON.parse(this.text)
    } catch (cause) {
      throw new classes.provider_error(`the answer with status ${this.status} is no JSON`, { cause })
    }
  }
}

const bytes = (view) => ({ $bytes: Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('base64') })

/** Statements that commit with the step of a transactional tool. */
class Transaction {
  #link
  #native

  constructor(link, native) {
    this.#link = link
    this.#native = native
  }

  /** Runs a statement and gives the number of rows it changed. `$1` is the tenant's id; `params` are `$2`, `$3`, … */
  async execute(sql, params = []) {
    const args = statement(sql, params)
    return Number(await this.#link.call((id) => this.#native.txExecute(id, args)))
  }

  /** Runs a query and gives its rows, each an array. */
  async query(sql, params = []) {
    const args = statement(sql, params)
    const text = await this.#link.call((id) => this.#native.txQuery(id, args))
    const rows = decode(text, undefined, 'the rows')
    return rows.map((row) => row.map((value) => (isObject(value) ? Buffer.from(value.$bytes, 'base64') : value)))
  }
}

function statement(sql, params) {
  if (!Array.isArray(params)) throw new InvalidInputError('the parameters of a statement are an array')
  return encode({ sql, params: params.map(bind) })
}

const bind = (value, place) => {
  if (value === null || ['boolean', 'number', 'string'].includes(typeof value)) return value
  if (isUint8Array(value)) return bytes(value)
  // Nothing is turned into text on the quiet, or taken for bytes: a store would keep it.
  throw new InvalidInputError(`parameter $${place + 2} is not null, a boolean, a number, a text or bytes in a Uint8Array`)
}

/** What the platform calls for a tool, a connector, a model, an authorizer and a subscriber, in this order. */
function functions(link, context, { tools, connectors, models, authorizer, subscribers }) {
  const serve = (role, work) => (native) => {
    const call = { link }
    within.run(call, answer, call, native, role, work)
  }
  return [
    ...tools.map(({ name, run }) => serve('tool', async (native) => {
      const args = decode(native.input(), undefined, `the input of \`${name}\``, InvalidInputError)
      const result = await run(args, new ToolCall(link, native, context))
      return encode(result === undefined ? null : result, undefined, `the result of ${name}`)
    })),
    ...connectors.map((connector) => serve('operation', async (native) => {
      const call = new ConnectorCall(link, native, context)
      const what = `\`${connector.name}.${call.operation}\``
      const input = decode(native.input(), undefined, `the input of ${what}`, InvalidInputError)
      const result = await connector.operations[call.operation](input, call)
      return encode(result === undefined ? null : result, undefined, `the result of ${what}`)
    })),
    ...models.map(({ name, run }) => serve('model', async (native) => {
      const request = decode(native.input(), shapes.answered('ChatRequest'), 'the request')
      const answered = run(request, new Call(link, native, context))
      if (isFunction(answered?.[Symbol.asyncIterator])) {
        for await (const piece of answered) {
          if (!native.push(encode(piece, shapes.given('ChatEvent'), `a piece of the answer of ${name}`))) break
        }
        return 'null'
      }
      return encode(await answered, shapes.given('ModelAnswer'), `the answer of ${name}`)
    })),
    ...(authorizer ? [serve('authorizer', async (native) => {
      const asked = decode(native.input(), undefined, 'the question')
      return encode((await authorizer(asked, new Call(link, native, context))) ?? null, undefined, 'the decision')
    })] : []),
    ...subscribers.map((subscriber) => serve('subscriber', async (native) => {
      await subscriber(decode(native.input(), shapes.of('events.read').answer, 'the events'))
      return 'null'
    })),
  ]
}

// The call that code runs in, also after its awaits, until that is answered.
const within = new AsyncLocalStorage()

/** Whether whoever asks is in a function that this link's platform waits for. */
const calledBy = (link) => within.getStore()?.link === link

async function answer(call, native, role, work) {
  const { link } = call
  try {
    const answered = await work(native)
    link.answered(native)
    native.done(answered)
  } catch (thrown) {
    link.answered(native)
    native.fail(JSON.stringify(toRecord(thrown, role)), link.keep(thrown))
  } finally {
    call.link = undefined
  }
}

module.exports = {
  Tool, Model, tool, model, functions, calledBy, jsonSchema, checker, Call, ToolCall, ConnectorCall, Transaction,
}
