# KMS keys, bucket, roles and policies at AWS, from the files that `secure-xcom policy compile` wrote.
#
# Use either this module or `secure-xcom policy apply --to iam --to s3 --to kms`, not both: each would find the
# other's changes.

terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

variable "compiled" {
  description = "The folder that `secure-xcom policy compile --out` wrote."
  type        = string
}

variable "roles" {
  description = "Identity of the access policy => the name of its IAM role, which its principal names, and who may take it (a trust policy as JSON)."
  type = map(object({
    name  = string
    trust = string
  }))
}

variable "bucket_key_arn" {
  description = "A KMS key for the bucket's own encryption, beneath the seal. Null: S3's own (AES256)."
  type        = string
  default     = null
}

variable "deletion_window_in_days" {
  description = "How long a wrapping key can be saved after somebody schedules its deletion."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}

module "compiled" {
  source = "../compiled"
  folder = var.compiled
}

resource "aws_iam_role" "identity" {
  for_each = var.roles

  name                 = each.value.name
  assume_role_policy   = each.value.trust
  max_session_duration = 3600
  tags                 = var.tags

  lifecycle {
    precondition {
      condition     = toset(keys(var.roles)) == toset(keys(module.compiled.aws_identities))
      error_message = "var.roles must name the identities of the access policy that have an AWS principal, and no other."
    }
  }
}

resource "aws_iam_role_policy" "identity" {
  for_each = module.compiled.aws_identities

  name   = "secure-xcom-${each.key}"
  role   = aws_iam_role.identity[each.key].id
  policy = each.value
}

resource "aws_kms_key" "wrapping" {
  for_each = module.compiled.aws_keys

  description             = "secure_xcom: wraps data keys of XComs"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  policy                  = each.value
  tags                    = var.tags

  # A key policy is refused where a principal that it names is not there yet.
  depends_on = [aws_iam_role.identity]

  lifecycle {
    # With the key every XCom under it is gone.
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "wrapping" {
  for_each = module.compiled.aws_keys

  name          = "alias/${each.key}"
  target_key_id = aws_kms_key.wrapping[each.key].key_id
}

resource "aws_s3_bucket" "sealed" {
  for_each = module.compiled.aws_buckets

  bucket = each.key
  tags   = var.tags
}

resource "aws_s3_bucket_ownership_controls" "sealed" {
  for_each = module.compiled.aws_buckets

  bucket = aws_s3_bucket.sealed[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "sealed" {
  for_each = module.compiled.aws_buckets

  bucket                  = aws_s3_bucket.sealed[each.key].id
  block_public_acls       = each.value.public_access.BlockPublicAcls
  ignore_public_acls      = each.value.public_access.IgnorePublicAcls
  block_public_policy     = each.value.public_access.BlockPublicPolicy
  restrict_public_buckets = each.value.public_access.RestrictPublicBuckets
}

resource "aws_s3_bucket_server_side_encryption_configuration" "sealed" {
  for_each = module.compiled.aws_buckets

  bucket = aws_s3_bucket.sealed[each.key].id

  rule {
    bucket_key_enabled = var.bucket_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.bucket_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.bucket_key_arn
    }
  }
}

resource "aws_s3_bucket_policy" "sealed" {
  for_each = module.compiled.aws_buckets

  bucket = aws_s3_bucket.sealed[each.key].id
  policy = each.value.policy

  depends_on = [aws_s3_bucket_public_access_block.sealed, aws_iam_role.identity]
}

resource "aws_s3_bucket_lifecycle_configuration" "sealed" {
  for_each = module.compiled.aws_buckets

  bucket = aws_s3_bucket.sealed[each.key].id

  dynamic "rule" {
    for_each = each.value.lifecycle

    content {
      id     = rule.value.ID
      status = rule.value.Status

      filter {
        prefix = rule.value.Filter.Prefix
      }

      abort_incomplete_multipart_upload {
        days_after_initiation = rule.value.AbortIncompleteMultipartUpload.DaysAfterInitiation
      }

      dynamic "expiration" {
        for_each = try([rule.value.Expiration.Days], [])

        content {
          days = expiration.value
        }
      }

      dynamic "noncurrent_version_expiration" {
        for_each = try([rule.value.NoncurrentVersionExpiration.NoncurrentDays], [])

        content {
          noncurrent_days = noncurrent_version_expiration.value
        }
      }
    }
  }
}

output "role_arns" {
  description = "Identity => ARN of its role, for service accounts and instance profiles. It must be the principal of the access policy."
  value       = { for name, role in aws_iam_role.identity : name => role.arn }
}

output "key_arns" {
  description = "Alias => ARN of the key that it names."
  value       = { for name, key in aws_kms_key.wrapping : name => key.arn }
}
