/** Door of the BGP services: `margay confd`, `margay bgp`, BIRD's control socket. */
export { bgpCommand } from "./bgp-command.ts";
export { confdCommand } from "./command.ts";
export { birdRoutes, type BirdRoute } from "./bird-routes.ts";
export { bgpSessions, birdCommand, type ReplyLine, type Session } from "./birdc.ts";
