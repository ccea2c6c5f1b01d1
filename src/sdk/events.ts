/** xend's events as an async iterator that survives a restart of xend: it goes on behind the last number it had. */
import type { EventType, XendEvent } from '../xend/events.ts';
import { ApiError, type XendClient } from './client.ts';

export interface EventFilter {
  /** Begin with the events after this number; without it, with the next event. */
  readonly since?: number;
  /** Only of the domain with this uuid. */
  readonly uuid?: string;
  /** Only of these types. */
  readonly types?: readonly EventType[];
  readonly signal?: AbortSignal;
}

const POLL_S = 50;
const RETRY_MS = 200;
/** So long xend may be away, as when it is restarted. */
const PATIENCE_MS = 30_000;

/** Ends when `signal` fires; throws an ApiError when xend stays away, and 'events-lost' when some are kept no more. */
export async function* events(client: XendClient, filter: EventFilter = {}): AsyncGenerator<XendEvent, void, void> {
  const { uuid, types, signal } = filter;
  let since = filter.since ?? (await client.call('GET /events', {})).last;
  let awaySince: number | undefined;
  while (!signal?.aborted) {
    const answer = await interruptible(client.call('GET /events', { since, waitS: POLL_S }), signal).catch((error) => {
      awaySince ??= performance.now();
      const patient = error instanceof ApiError && error.code === 'no-xend';
      if (!patient || performance.now() - awaySince > PATIENCE_MS) throw error;
    });
    if (signal?.aborted) return;
    if (!answer) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      continue;
    }
    awaySince = undefined;
    if (!answer.complete) throw new ApiError('events-lost', 0, `events after number ${since} are kept no more`);
    for (const event of answer.events) {
      since = event.seq;
      const wanted = (!uuid || event.domain?.uuid === uuid) && (!types || types.includes(event.type as EventType));
      if (wanted) yield event;
    }
  }
}

/** Resolves early, with nothing, when `signal` fires. */
function interruptible<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const stop = () => resolve(undefined);
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
