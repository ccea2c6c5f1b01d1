/** Which Domus this is: what package.json says, in a checkout and where the package is installed. */
import { readFileSync } from 'node:fs';

export function domusVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
