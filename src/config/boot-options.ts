/**
 * Kernel options that Domus puts in front of the guest's kernel line, with the reason for each. A configuration turns them
 * off, or sets others, with `domus_boot_options = "..."`. Options only: a guest boots without them, just less well.
 */
// biome-ignore format: a table
export const BOOT_OPTIONS = [
  { option: 'cryptomgr.notests', reason: 'self-tests of every cipher cost seconds of a software CPU at each boot and prove nothing here' },
  { option: 'tsc=reliable',      reason: 'the TSC is the monitor\'s own clock: watching it for drift only wakes an idle guest' },
] as const;

export const defaultBootOptions = (): string => BOOT_OPTIONS.map(({ option }) => option).join(' ');
