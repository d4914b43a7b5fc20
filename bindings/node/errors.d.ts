// One class per kind of error, under one base.

import type { ErrorKind, SpentModelEvent } from './types.js'

/** Every error of the package. */
export class AgentProvisionError extends Error {
  constructor(message: string, options?: ErrorOptions)
  /** The stable code of the kind, such as `not_found`. */
  readonly code: ErrorKind
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** Seconds after which to call again, where known. */
  readonly retryAfter: number | null
  /** The operation that failed, as `noun.verb`, where known. */
  readonly operation: string | null
  /** Facts about the failure. */
  readonly context: Readonly<Record<string, string>>
  /** What a request to a model used before it failed. */
  readonly spent: SpentModelEvent | null
  /** The status an HTTP service answers with. */
  readonly httpStatus: number
}

/** What an error of the host's own says beside its message. */
export interface ErrorOptions {
  code?: ErrorKind
  retryable?: boolean
  retryAfter?: number | null
  operation?: string | null
  context?: Record<string, string>
  cause?: unknown
}

export class InvalidInputError extends AgentProvisionError {}
export class UnauthenticatedError extends AgentProvisionError {}
export class BudgetExceededError extends AgentProvisionError {}
export class PermissionDeniedError extends AgentProvisionError {}
export class TenantSuspendedError extends AgentProvisionError {}
export class BlockedError extends AgentProvisionError {}
export class ForeignContextError extends AgentProvisionError {}
export class NotFoundError extends AgentProvisionError {}
export class ConflictError extends AgentProvisionError {}
export class AlreadyExistsError extends AgentProvisionError {}
export class IdempotencyMismatchError extends AgentProvisionError {}
export class FencedError extends AgentProvisionError {}
export class UncertainError extends AgentProvisionError {}
export class TooLargeError extends AgentProvisionError {}
export class PriceUnknownError extends AgentProvisionError {}
export class ContentPolicyError extends AgentProvisionError {}
export class ContextWindowError extends AgentProvisionError {}
export class RateLimitedError extends AgentProvisionError {}
export class QuotaExceededError extends AgentProvisionError {}
export class CancelledError extends AgentProvisionError {}
export class InternalError extends AgentProvisionError {}
export class CorruptError extends AgentProvisionError {}
export class UnsupportedError extends AgentProvisionError {}
export class ProviderError extends AgentProvisionError {}
export class IncompleteError extends AgentProvisionError {}
export class UnavailableError extends AgentProvisionError {}
export class ReadOnlyError extends AgentProvisionError {}
export class SchemaTooNewError extends AgentProvisionError {}
export class ClosedError extends AgentProvisionError {}
export class DeadlineExceededError extends AgentProvisionError {}
