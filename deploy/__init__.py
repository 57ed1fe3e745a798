"""How the exchange is brought up: servers, roles, permissions, the launcher and the command line.

It starts the processes of all packages and speaks to them as a client. It must never hold a rule of the exchange, and no
package may know of it.
"""
