/**
 * The states of a domain and the only ways between them. The monitor moves by this table, xend refuses by it and xm
 * explains by it. State letters are xm-xend 1.4's.
 */
import type { MachineExit } from './machine-types.ts';

export type DomainState = 'building' | 'paused' | 'running' | 'shutdown' | 'dead';
export type DomainEvent = 'built' | 'unpause' | 'pause' | 'guestExit' | 'rebuild' | 'destroy';

// biome-ignore format: a table
export const TRANSITIONS = {
  building: { built: 'paused',                                                    destroy: 'dead' },
  paused:   { unpause: 'running',                       guestExit: 'shutdown',    destroy: 'dead' },
  running:  { pause: 'paused',                          guestExit: 'shutdown',    destroy: 'dead' },
  shutdown: { rebuild: 'building',                                                destroy: 'dead' },
  dead:     {},
} as const satisfies Record<DomainState, Partial<Record<DomainEvent, DomainState>>>;

/** The state that `event` leads to, or undefined when it is not possible in this state. */
export function nextState(from: DomainState, event: DomainEvent): DomainState | undefined {
  return (TRANSITIONS[from] as Partial<Record<DomainEvent, DomainState>>)[event];
}

/** Did the guest end otherwise than it wanted? */
export const isCrash = (kind: MachineExit['kind'] | 'destroyed' | undefined): boolean =>
  kind === 'crash' || kind === 'watchdog';

/** The five letters of `xm list`: r b p s c. */
export function stateLetters(state: DomainState, running: boolean, crashed: boolean): string {
  const live = state === 'running';
  const down = state === 'shutdown' || state === 'dead';
  return [
    live && running ? 'r' : '-',
    live && !running ? 'b' : '-',
    state === 'paused' || state === 'building' ? 'p' : '-',
    down && !crashed ? 's' : '-',
    down && crashed ? 'c' : '-',
  ].join('');
}
