/** `xm schema`: what a configuration in JSON may say. */
import { command } from '../command.ts';

export const schema = command({
  name: 'schema',
  group: 'general',
  summary: "Print the JSON schema of a domain's configuration",
  details: `
xend checks every configuration by it; xm create takes files of that form, and xm create --dryrun --json prints what another
file comes down to in it.`,
  async run({ out }) {
    const { DomainConfig } = await import('../../config/domain-config.ts');
    const $schema = 'https://json-schema.org/draft/2020-12/schema';
    out(`${JSON.stringify({ $schema, ...DomainConfig }, null, 2)}\n`);
  },
});
