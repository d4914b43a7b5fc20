'use strict'
// Runs, their events and how they ended.

const { inspect } = require('node:util')
const { decode, only, signalIn } = require('./json.cjs')
const { InvalidInputError, classes, fromRecord, sync } = require('./errors.cjs')
const { chainText, eventText } = require('./text.cjs')
const shapes = require('./shapes.cjs')

/** Items as they come. Ending the loop, or `return()`, ends it at once. */
class Stream {
  #link
  #open
  #read
  #signal
  #native
  #tail = Promise.resolve()
  #over = false
  #stop

  constructor(link, open, read, signal) {
    this.#link = link
    this.#open = open
    this.#read = read
    this.#signal = signalIn(signal)
    if (this.#signal) {
      this.#stop = () => this.#close()
      if (signal.aborted) this.#over = true
      else signal.addEventListener('abort', this.#stop, { once: true })
    }
  }

  [Symbol.asyncIterator]() { return this }

  get opened() { return this.#native !== undefined }

  next() {
    // One after another: each asks for the item after the one before.
    const next = this.#tail.then(() => this.#one())
    this.#tail = next.catch(() => {})
    return next
  }

  async #one() {
    if (this.#over) return this.#end()
    try {
      this.#native ??= await this.#open()
      // Ended while it was opened: then there is something to close now.
      if (this.#over) {
        this.#native.close()
        return this.#end()
      }
      const text = await this.#link.call((id) => this.#native.next(id))
      if (text === '' || this.#over) {
        this.#close()
        return this.#end()
      }
      return { done: false, value: this.#read(text) }
    } catch (error) {
      this.#close()
      throw error
    }
  }

  #end() {
    if (this.#signal?.aborted) throw this.#signal.reason
    return { done: true, value: undefined }
  }

  #close() {
    this.#over = true
    this.#native?.close()
    if (this.#stop) this.#signal.removeEventListener('abort', this.#stop)
    this.#stop = undefined
  }

  async return(value) {
    this.#close()
    return { done: true, value }
  }

  async throw(error) {
    this.#close()
    throw error
  }
}
// Node 20 before 20.5 has no such symbol.
if (Symbol.asyncDispose) {
  Stream.prototype[Symbol.asyncDispose] = async function () {
    await this.return()
  }
}

/** The events of a run that is started when the first is asked for. */
class RunStream extends Stream {
  #run
  #started

  constructor(link, start, signal) {
    let run
    super(link, async () => {
      const { native } = await run()
      return native.events()
    }, readEvent, signal)
    let started
    run = () => (started ??= start())
    this.#run = run
    this.#started = () => started
  }

  async return(value) {
    // A run that was started for this stream has lost its watcher, also where no event was asked for yet.
    if (!this.opened) this.#started()?.then(({ native }) => native.events().close(), () => {})
    return super.return(value)
  }

  /** The run; starts it, where nothing else has. */
  get run() { return this.#run().then(({ handle }) => handle) }
}

const printable = { value() { return eventText(this) }, enumerable: false, configurable: true, writable: true }
const readEvent = (text) => {
  return Object.defineProperty(decode(text, shapes.answered('RunEvent'), 'the event'), 'toString', printable)
}

/** A chain that prints as a table. */
function readChain(text, shape) {
  return withTable(decode(text, shape ?? shapes.answered('Chain'), 'the chain'))
}
const withTable = (chain) => Object.defineProperty(chain, 'toString', {
  value() { return chainText(this) }, enumerable: false, configurable: true, writable: true,
})

/** How a run ended. */
class Outcome {
  #answer

  constructor(text) {
    const { record, chain, answer } = decode(text, shapes.answered('OutcomeRecord'), 'the outcome')
    this.record = record
    this.chain = withTable(chain)
    this.#answer = answer
  }

  /** How it ended. */
  get status() { return this.record.status }

  /** The error the run ended with; null for one that is completed. */
  get error() {
    const { error } = this.record
    if (error) return fromRecord({ code: error.kind, message: error.message })
    return this.#answer === null ? new classes.incomplete('the run has no output') : null
  }

  /** The answer of a completed run; throws the error of any other. */
  get text() {
    if (this.#answer === null) throw this.error
    return this.#answer
  }

  /** The answer of a completed run as a value, for an agent with an output schema. */
  output() {
    const { text } = this
    try {
      return decode(text, undefined, 'the answer')
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      throw new classes.invalid_input(`the answer does not have the asked form: ${error.message}`, { cause: error })
    }
  }
}

/** A handle on a run. */
class Run {
  #link
  #runs
  #ctx
  #native

  constructor(link, runs, ctx, native) {
    this.#link = link
    this.#runs = runs
    this.#ctx = ctx
    this.#native = native
    this.id = native.id
  }

  /** Its events from the beginning or after a place, up to its end. */
  events(options) {
    const { after, signal } = only(['after', 'signal'], options)
    if (after != null && typeof after !== 'string') throw new InvalidInputError('`after` is not text: it is the `cursor` of an event')
    return new Stream(this.#link, () => sync(() => this.#native.events(after)), readEvent, signal)
  }

  [Symbol.asyncIterator]() { return this.events() }

  /** Waits for its end. Ending the wait does nothing to the run, unless its start said so. */
  async wait(options) {
    const { signal } = only(['signal'], options)
    return new Outcome(await this.#link.wait((id) => this.#native.wait(id), signalIn(signal)))
  }

  /** Asks for it to end. */
  cancel() { return this.#runs.cancel(this.#ctx, this.id) }

  /** Where it stands. */
  record() { return this.#runs.record(this.#ctx, this.id) }

  /** Every step so far. */
  chain() { return this.#runs.chain(this.#ctx, this.id) }

  /** Its verified journal. */
  journal() { return this.#runs.journal(this.#ctx, this.id) }

  /** Answers an approval it waits for. */
  approve(approval) { return this.#runs.approve(this.#ctx, this.id, approval) }

  [inspect.custom]() { return `Run { ${this.id} }` }
}

/** Runs that remember each other. */
class Session {
  #sessions
  #ctx

  constructor(sessions, ctx, record) {
    this.#sessions = sessions
    this.#ctx = ctx
    this.record = record
    this.id = record.id
  }

  /** Starts the next turn. */
  send(input, options) { return this.#sessions.send(this.#ctx, this, input, options) }

  [inspect.custom]() { return `Session { ${this.id} }` }
}

module.exports = { Stream, RunStream, Run, Session, Outcome, readEvent, readChain }
