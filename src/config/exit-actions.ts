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
