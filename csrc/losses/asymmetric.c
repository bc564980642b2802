/* The asymmetric loss (Ridnik et al. 2021), with p the logistic function of z and q = max(p - clip, 0):
 *
 *     -(positive y (1 - p)^gamma_positive log(p) + negative (1 - y) q^gamma_negative log(1 - q))
 *
 * With equal gammas and no clip it is the focal loss (Lin et al. 2017). The gradient is that of the whole expression.
 * All is made of softplus(z) = log(1 + exp(z)) and 1 / (1 + exp(-z)), which neither overflow nor cancel. */
#include "labelled.h"

#include <math.h>

static double softplus(double z)
{
    return fmax(z, 0) + log1p(exp(-fabs(z)));
}

static double logistic(double z)
{
    return 1 / (1 + exp(-z));
}

/* -(1 - p)^gamma log(p), and its derivative. */
static double hit(double z, double gamma)
{
    return exp(-gamma * softplus(z)) * softplus(-z);
}

static double hit_slope(double z, double gamma)
{
    return -exp(-gamma * softplus(z)) * (gamma * logistic(z) * softplus(-z) + logistic(-z));
}

/* The lowered probability q of a negative, its power gamma, and -log(1 - q). */
typedef struct {
    double q, power, minus_log;
} lowered;

static lowered lower(double z, double gamma, double clip)
{
    double p = logistic(z), q = p - clip;
    if (clip == 0)
        return (lowered){p, exp(-gamma * softplus(-z)), softplus(z)};
    if (q <= 0)
        return (lowered){0, 0, 0};
    return (lowered){q, pow(q, gamma), q < 0.5 ? -log1p(-q) : -log(logistic(-z) + clip)};
}

static double miss(double z, double gamma, double clip)
{
    lowered l = lower(z, gamma, clip);
    return l.power * l.minus_log;
}

/* q' = p (1 - p); without clip 1 - q is 1 - p, which may be 0, and the two are taken together. */
static double miss_slope(double z, double gamma, double clip)
{
    lowered l = lower(z, gamma, clip);
    double p = logistic(z), rest = logistic(-z);
    if (clip == 0)
        return l.power * (gamma * rest * l.minus_log + p);
    if (l.q <= 0)
        return 0;
    return l.power * p * rest * (gamma * l.minus_log / l.q + 1 / (rest + clip));
}

static double value(double z, double y, double positive, double negative, const ecg_loss_settings *s)
{
    return positive * y * hit(z, s->gamma_positive) + negative * (1 - y) * miss(z, s->gamma_negative, s->clip);
}

static double slope(double z, double y, double positive, double negative, const ecg_loss_settings *s)
{
    return positive * y * hit_slope(z, s->gamma_positive) +
           negative * (1 - y) * miss_slope(z, s->gamma_negative, s->clip);
}

const ecg_label_loss ecg_asymmetric = {"asymmetric", true, value, slope};
