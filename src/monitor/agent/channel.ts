/** The channel on which the agent in a guest is reached: the second PV console, /dev/hvc1 in Linux. */
export const AGENT_CHANNEL = { id: 1, name: 'domus.agent' } as const;
