/** What is wrong with a configuration, in one line for people: `FILE:LINE:COLUMN: what`. */
export class ConfigError extends Error {
  override readonly name: string = 'ConfigError';
}

/** Both count from one. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export function positionOf(source: string, at: number): Position {
  const before = source.slice(0, at);
  const line = before.split('\n').length;
  return { line, column: at - (before.lastIndexOf('\n') + 1) + 1 };
}
