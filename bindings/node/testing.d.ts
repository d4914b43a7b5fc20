// For tests of agents: a model with written answers, and a clock that stands still.

import type { ChatRequest, ErrorKind, Json, ModelPrice, Timestamp } from './types.js'

/** One written answer; a text alone is an answer of that text. */
export type Reply =
  | string
  | {
      /** An answer. */
      text?: string
      /** Tool calls, by name and arguments. */
      tools?: readonly (readonly [name: string, args: Json])[]
    }
  /** A tool call that is cut off in the middle of its arguments. */
  | { cutOff: readonly [name: string, args: string] }
  /** A failure before anything is said. */
  | { fail: { code: ErrorKind; message: string } }
  /** A failure in the middle of an answer. */
  | { break: readonly [text: string, failure: { code: ErrorKind; message: string }] }
  /** An answer that begins and never ends. */
  | { stall: string }

/** A model that gives written answers in order. */
export class ScriptedModel {
  constructor(name: string, replies: readonly Reply[], options?: { price?: ModelPrice })
  readonly name: string
  /** What it was asked so far, in order. */
  requests(): ChatRequest[]
}

/** A clock that stands still until it is moved, with randomness from a seed: the same run gives the same bytes. */
export class ManualClock {
  constructor(options: { start: Timestamp; seed?: number })
  /** Moves it forward by milliseconds. */
  advance(millis: number): void
  /** What it shows. */
  now(): Timestamp
}
