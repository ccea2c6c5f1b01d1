/** Which events a change of a monitor's state is. Whoever caused the change, the monitor tells it, so none is missed. */
import type { MonitorStatus } from '../monitor/protocol.ts';
import type { EventType } from './events.ts';

export interface StateEvent {
  readonly type: EventType;
  readonly data?: Record<string, unknown>;
}

/**
 * `before` is undefined when xend has only just met the monitor. Calls tell a state again and again: then there is none.
 * `decided` is the build whose end an earlier xend has dealt with, and told.
 */
export function stateEvents(before: MonitorStatus | undefined, after: MonitorStatus, decided = 0): StateEvent[] {
  if (!before && after.state === 'shutdown' && after.builds <= decided) return [];
  return [...lifeEvents(before, after), ...consoleEvents(before?.console?.writer, after.console?.writer)];
}

function consoleEvents(before: string | undefined, after: string | undefined): StateEvent[] {
  if (before === after) return [];
  return [
    ...(before === undefined ? [] : [{ type: 'console.disconnected', data: { who: before } } as const]),
    ...(after === undefined ? [] : [{ type: 'console.connected', data: { who: after } } as const]),
  ];
}

function lifeEvents(before: MonitorStatus | undefined, after: MonitorStatus): StateEvent[] {
  const sameBuild = before?.builds === after.builds;
  if (after.state === 'shutdown') {
    if (sameBuild && before?.state === 'shutdown') return [];
    const { kind: reason = 'crash', report } = after.exit ?? {};
    return [{ type: 'domain.exited', data: { reason, ...(report && { report }) } }];
  }
  if (!before) return [];
  const started = before.startedAtMs === undefined || !sameBuild;
  if (after.state === 'running' && (before.state !== 'running' || !sameBuild)) {
    if (!started) return [{ type: 'domain.unpaused' }];
    return after.builds > 1
      ? [{ type: 'domain.restarted', data: { builds: after.builds } }]
      : [{ type: 'domain.started' }];
  }
  if (after.state === 'paused' && before.state === 'running') return [{ type: 'domain.paused' }];
  return [];
}
