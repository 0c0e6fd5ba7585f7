/* A WAN link between two network namespaces: what goes into a TUN device in one comes out of a TUN device in the other, later, slower, or never.
 *
 *     relay SOCKET SEED NAMESPACE-A INTERFACE-A NAMESPACE-B INTERFACE-B
 *
 * Makes the interfaces (addresses and routes are the caller's) and listens on SOCKET (datagrams). One message, one answer:
 *     show                                the setting and what was counted, as JSON
 *     set delay_ns=N bits_per_s=N ...     the setting changes, at once, in both directions; what is not named stays
 *     stop                                the interfaces are gone
 * It ends by itself when one of the interfaces is gone. Nothing is written to stdout but "ready". */
#define _GNU_SOURCE
#include "link.h"
#include "packet.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { A, B, CONTROL, WATCHED };
enum { BATCH = 64, ANSWER = 2048 };

static struct setting setting = {.queue_bytes = 1 << 20};
static struct direction ways[2]; /* [A]: from a to b */
static const char *scheduling;

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static int open_device(const char *namespace, const char *interface)
{
    const int place = open(namespace, O_RDONLY | O_CLOEXEC);
    if (place < 0 || setns(place, CLONE_NEWNET) != 0)
        fail(namespace);
    close(place);
    const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0)
        fail("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    if (strlen(interface) >= sizeof request.ifr_name)
        errno = ENAMETOOLONG, fail(interface);
    strcpy(request.ifr_name, interface);
    if (ioctl(device, TUNSETIFF, &request) != 0)
        fail(interface);
    if (ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0)
        fail("offloading");
    return device;
}

static int control_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        errno = ENAMETOOLONG, fail(path);
    strcpy(address.sun_path, path);
    const int control = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (control < 0 || bind(control, (struct sockaddr *)&address, sizeof address) != 0)
        fail(path);
    return control;
}

/* A link that waits for a processor is no link: it goes before everything else where the machine lets it. */
static const char *take_priority(void)
{
    prctl(PR_SET_TIMERSLACK, 1ul);
    mlockall(MCL_CURRENT);
    const struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first) == 0)
        return "fifo";
    return setpriority(PRIO_PROCESS, 0, -20) == 0 ? "nice -20" : "normal";
}

static int shown(char *answer, size_t room)
{
    int length = snprintf(answer, room,
        "{\"delay_ns\": %lld, \"jitter_ns\": %lld, \"bits_per_s\": %lld, \"queue_bytes\": %lld, \"loss_per_million\": %lld, \"damage_per_million\": %lld, \"scheduling\": \"%s\"",
        (long long)setting.delay_ns, (long long)setting.jitter_ns, (long long)setting.bits_per_s, (long long)setting.queue_bytes,
        (long long)setting.loss_per_million, (long long)setting.damage_per_million, scheduling);
    for (int i = 0; i < 2; i++) {
        const struct count *count = &ways[i].count;
        length += snprintf(answer + length, room - (size_t)length,
            ", \"%s\": {\"packets\": %llu, \"bytes\": %llu, \"lost\": %llu, \"damaged\": %llu, \"dropped\": %llu, \"refused\": %llu, \"latest_ns\": %lld}",
            i == A ? "a_to_b" : "b_to_a", (unsigned long long)count->packets, (unsigned long long)count->bytes,
            (unsigned long long)count->lost, (unsigned long long)count->damaged, (unsigned long long)count->dropped, (unsigned long long)count->refused,
            (long long)count->latest_ns);
    }
    return length + snprintf(answer + length, room - (size_t)length, "}");
}

/* Returns what is wrong with the words, or NULL when the setting is as they say. */
static const char *change(char *words)
{
    struct setting asked = setting;
    const struct { const char *name; int64_t *value; int64_t most; } known[] = {
        {"delay_ns", &asked.delay_ns, 10000000000},      {"jitter_ns", &asked.jitter_ns, 10000000000},
        {"bits_per_s", &asked.bits_per_s, 1000000000000}, {"queue_bytes", &asked.queue_bytes, 1 << 30},
        {"loss_per_million", &asked.loss_per_million, 1000000},
        {"damage_per_million", &asked.damage_per_million, 1000000},
    };
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '='), *end = NULL;
        if (value == NULL)
            return "a setting is name=value";
        *value++ = 0;
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i].name, word) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            return "there is no such setting";
        errno = 0;
        *known[i].value = strtoll(value, &end, 10);
        if (errno || end == value || *end || *known[i].value < 0 || *known[i].value > known[i].most)
            return "a value is out of range";
    }
    if (asked.jitter_ns > asked.delay_ns)
        return "jitter must not exceed the delay";
    const int64_t now = now_ns();
    for (int i = 0; i < 2; i++)
        link_change(&ways[i], &setting, &asked, now);
    setting = asked;
    return NULL;
}

/* Answers one message; returns false when the link is to end. */
static int answer(int control)
{
    char asked[512], told[ANSWER];
    struct sockaddr_un from;
    socklen_t from_length = sizeof from;
    const ssize_t length = recvfrom(control, asked, sizeof asked - 1, 0, (struct sockaddr *)&from, &from_length);
    if (length < 0)
        return 1;
    asked[length] = 0;
    const int stop = strcmp(asked, "stop") == 0;
    int size;
    if (stop) {
        size = snprintf(told, sizeof told, "{}");
    } else if (strcmp(asked, "show") == 0) {
        size = shown(told, sizeof told);
    } else {
        const char *wrong = strncmp(asked, "set ", 4) == 0 ? change(asked + 4) : "say show, set or stop";
        size = wrong ? snprintf(told, sizeof told, "{\"error\": \"%s\"}", wrong) : shown(told, sizeof told);
    }
    (void)!sendto(control, told, (size_t)size, 0, (struct sockaddr *)&from, from_length); /* who does not wait for it gets none */
    return !stop;
}

/* Takes what waits at a device, but not for ever: the other direction has a turn. Returns false when the device is gone. */
static int take_from(int device, struct direction *way)
{
    static uint8_t packet[PACKET_LONGEST];
    for (int i = 0; i < BATCH; i++) {
        const ssize_t length = read(device, packet, sizeof packet);
        if (length < 0)
            return errno == EAGAIN || errno == EINTR;
        link_take(way, &setting, packet, (size_t)length, now_ns());
    }
    return 1;
}

static void serve(const int devices[2], int control)
{
    struct pollfd watched[WATCHED] = {{devices[A], POLLIN, 0}, {devices[B], POLLIN, 0}, {control, POLLIN, 0}};
    for (;;) {
        int64_t wait = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            const int64_t now = now_ns(), due = link_deliver(&ways[i], devices[!i], now);
            if (due >= 0 && due - now < wait)
                wait = due - now;
        }
        const struct timespec until = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(watched, WATCHED, wait == INT64_MAX ? NULL : &until, NULL) < 0) {
            if (errno != EINTR)
                fail("poll");
            continue;
        }
        for (int i = 0; i < 2; i++)
            if ((watched[i].revents & (POLLERR | POLLHUP | POLLNVAL)) || (watched[i].revents && !take_from(devices[i], &ways[i])))
                return;
        if (watched[CONTROL].revents && !answer(control))
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: relay SOCKET SEED NAMESPACE-A INTERFACE-A NAMESPACE-B INTERFACE-B\n");
        return 2;
    }
    const int control = control_at(argv[1]);
    const uint64_t seed = strtoull(argv[2], NULL, 10);
    if (!link_begin(&ways[A], seed) || !link_begin(&ways[B], ~seed))
        fail("memory");
    const int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    const int devices[2] = {open_device(argv[3], argv[4]), open_device(argv[5], argv[6])};
    if (home < 0 || setns(home, CLONE_NEWNET) != 0)
        fail("this process's own network namespace");
    close(home);
    scheduling = take_priority();
    puts("ready");
    fclose(stdout);
    serve(devices, control);
    close(devices[A]); /* the interfaces go with it; who sees no socket may use their names again */
    close(devices[B]);
    unlink(argv[1]);
    return 0;
}
