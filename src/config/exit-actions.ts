/** What becomes of a domain whose guest has ended, and the old names for sets of it (xm-xend 6.2, 2.8). */
export const EXIT_ACTIONS = [
  'destroy',
  'restart',
  'preserve',
  'rename-restart',
  'coredump-destroy',
  'coredump-restart',
] as const;
export type ExitAction = (typeof EXIT_ACTIONS)[number];

export interface ExitActions {
  onPoweroff: ExitAction;
  onReboot: ExitAction;
  onCrash: ExitAction;
}

const row = (onPoweroff: ExitAction, onReboot: ExitAction, onCrash: ExitAction): ExitActions => ({
  onPoweroff,
  onReboot,
  onCrash,
});

/** `restart = "..."`. Later tools restart a crashed domain under `always`, which is what the word says. */
// biome-ignore format: a table
export const RESTART_MODES: Readonly<Record<string, ExitActions>> = {
  onreboot: row('destroy', 'restart', 'destroy'),
  always:   row('restart', 'restart', 'restart'),
  never:    row('destroy', 'destroy', 'destroy'),
};

/** The actions that such a word stands for; undefined for any other, those included that every object has (`constructor`). */
export const restartMode = (mode: string): ExitActions | undefined =>
  Object.hasOwn(RESTART_MODES, mode) ? RESTART_MODES[mode] : undefined;
