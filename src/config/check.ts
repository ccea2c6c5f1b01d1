/**
 * Checks what somebody wrote as JSON or SXP by the schema, and says what is wrong in one line. Loads the schema's library,
 * which files in Python do not need.
 */
import { Value } from '@sinclair/typebox/value';
import { ConfigError } from './config-error.ts';
import { DomainConfig } from './domain-config.ts';
import { kernelLineProblem } from './kernel-line.ts';
import { nameProblem } from './name.ts';

/** Fills in defaults; throws a ConfigError. */
export function checkConfig(value: unknown): DomainConfig {
  const config = Value.Default(DomainConfig, value) as Partial<DomainConfig>;
  if (typeof config === 'object' && config !== null && config.maxmemMiB === undefined && config.memoryMiB)
    config.maxmemMiB = config.memoryMiB;
  const wrong = Value.Errors(DomainConfig, config).First();
  if (wrong) throw new ConfigError(explain(wrong));
  const problem = nameProblem(config.name!) ?? kernelLineProblem(config);
  if (problem) throw new ConfigError(problem);
  return config as DomainConfig;
}

function explain({
  path,
  message,
  value,
  schema,
}: {
  path: string;
  message: string;
  value: unknown;
  schema: object;
}): string {
  const where = path === '' ? 'the configuration' : path.slice(1).replaceAll('/', '.');
  if (value === undefined) return `${where} is missing`;
  if (message === 'Unexpected property') return `${where} is not known`;
  const text = JSON.stringify(value) ?? String(value);
  const { anyOf } = schema as { anyOf?: { const: unknown }[] };
  const wanted = anyOf ? `one of ${anyOf.map((one) => one.const).join(', ')} is wanted` : message.toLowerCase();
  return `${where}: ${text.length > 40 ? `${text.slice(0, 40)}...` : text}: ${wanted}`;
}
